{#
  The metrics of the candidate and, if there is one, of the champion, on the same held-out rows. As JSON, because BigQuery
  models of two types have different metrics, whose rows UNION ALL would refuse.
#}
CREATE OR REPLACE TABLE `{{ refresh.metrics_table }}` AS
SELECT 'candidate' AS role, TO_JSON_STRING(evaluation) AS metrics
FROM ML.EVALUATE(MODEL `{{ refresh.candidate_model }}`, (
{{ held_out }}
)) AS evaluation
{% if champion %}
UNION ALL
SELECT 'champion' AS role, TO_JSON_STRING(evaluation) AS metrics
FROM ML.EVALUATE(MODEL `{{ champion }}`, (
{{ held_out }}
)) AS evaluation
{% endif %}
