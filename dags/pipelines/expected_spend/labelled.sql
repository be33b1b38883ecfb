{% from "shared/customers.sql" import history with context %}
{# The customers `weeks` weeks ago, and their spend in the `horizon` weeks that followed. #}
{% macro labelled(weeks, horizon) %}
SELECT
  recency_weeks,
  tenure_weeks,
  frequency,
  log_spend,
  later_spend_usd AS spend_usd
FROM (
{{ history(weeks, horizon) }})
{% endmacro %}
