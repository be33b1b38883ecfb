{# The metrics of the candidate and, if there is one, of the champion, on the same held-out rows. #}
CREATE OR REPLACE TABLE `{{ refresh.metrics_table }}` AS
SELECT 'candidate' AS role, *
FROM ML.EVALUATE(MODEL `{{ refresh.candidate_model }}`, (
{{ held_out | indent(2, first=true) }}
))
{% if champion %}
UNION ALL
SELECT 'champion' AS role, *
FROM ML.EVALUATE(MODEL `{{ champion }}`, (
{{ held_out | indent(2, first=true) }}
))
{% endif %}
