{% from "shared/customers.sql" import history, purchases_after with context %}
{# The customers `weeks` weeks ago, and their spend in the `horizon` weeks that followed. #}
{% macro labelled(weeks, horizon) %}
SELECT
  known.recency_weeks,
  known.tenure_weeks,
  known.frequency,
  known.log_spend,
  IFNULL(later.spend_usd, 0) AS spend_usd
FROM (
{{ history(weeks) }}) AS known
LEFT JOIN (
{{ purchases_after(weeks, horizon) }}) AS later
  ON later.customer_id = known.customer_id
{% endmacro %}
