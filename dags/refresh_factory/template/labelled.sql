{# Files of macros may lie here or in dags/shared. #}
{% from "shared/customers.sql" import history, purchases_after with context %}
{# The customers `weeks` weeks ago. The label is 1 if they spent enough in the weeks that followed, else 0. #}
{% macro labelled(weeks) %}
SELECT
  known.recency_weeks,
  known.frequency,
  known.log_spend,
  IF(later.spend_usd >= {{ variables.enough_usd }}, 1, 0) AS spends_enough
FROM (
{{ history(weeks) }}) AS known
LEFT JOIN (
{{ purchases_after(weeks, variables.horizon_weeks) }}) AS later
  ON later.customer_id = known.customer_id
{% endmacro %}
