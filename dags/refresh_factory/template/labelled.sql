{# Macros may be kept in files of their own, here or in dags/shared. #}
{% from "shared/customers.sql" import history, purchases_after with context %}
{# The customers as they were `weeks` weeks ago, and whether (1 or 0) they spent enough in the weeks that followed. #}
{% macro labelled(weeks) %}
SELECT
  known.recency_weeks,
  known.frequency,
  known.log_spend,
  IF(later.spend_usd >= {{ variables.enough_usd }}, 1, 0) AS spends_enough
FROM (
{{ history(weeks) | indent(2, first=true) }}) AS known
LEFT JOIN (
{{ purchases_after(weeks, variables.horizon_weeks) | indent(2, first=true) }}) AS later
  ON later.customer_id = known.customer_id
{% endmacro %}
