{% from "shared/customers.sql" import history, purchases_after with context %}
{# The customers `weeks` weeks ago. The label is 1 if they bought in the `horizon` weeks that followed, else 0. #}
{% macro labelled(weeks, horizon) %}
SELECT
  known.recency_weeks,
  known.tenure_weeks,
  known.frequency,
  known.log_spend,
  IF(later.customer_id IS NULL, 0, 1) AS buys_again
FROM (
{{ history(weeks) }}) AS known
LEFT JOIN (
{{ purchases_after(weeks, horizon) }}) AS later
  ON later.customer_id = known.customer_id
{% endmacro %}
