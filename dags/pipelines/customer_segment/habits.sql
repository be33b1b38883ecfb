{% from "shared/customers.sql" import history with context %}
{# What tells customers apart. Logarithms, as a few customers buy very often. #}
{% macro habits() %}
SELECT
  customer_id,
  recency_weeks,
  LN(frequency) AS log_frequency,
  log_spend
FROM (
{{ history(0) | indent(2, first=true) }})
{% endmacro %}
