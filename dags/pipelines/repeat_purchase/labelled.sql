{% from "shared/customers.sql" import history with context %}
{# The customers `weeks` weeks ago. The label is 1 if they bought in the `horizon` weeks that followed, else 0. #}
{% macro labelled(weeks, horizon) %}
SELECT
  recency_weeks,
  tenure_weeks,
  frequency,
  log_spend,
  IF(later_orders > 0, 1, 0) AS buys_again
FROM (
{{ history(weeks, horizon) }})
{% endmacro %}
