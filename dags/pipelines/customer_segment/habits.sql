{% from "shared/customers.sql" import history with context %}
{# The features that tell customers apart. Logarithms, because a few customers buy very often. #}
{% macro habits() %}
SELECT
  customer_id,
  recency_weeks,
  LN(frequency) AS log_frequency,
  log_spend
FROM (
{{ history(0) }})
{% endmacro %}
