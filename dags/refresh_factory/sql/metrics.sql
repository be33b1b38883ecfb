{# The metrics of the candidate and of the champion, if there is one, on the same held-out rows. #}
CREATE OR REPLACE TABLE `{{ refresh.evaluation_table }}` AS
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
