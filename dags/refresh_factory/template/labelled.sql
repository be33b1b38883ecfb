{# Files of macros may lie here or in dags/shared. #}
{% from "shared/customers.sql" import history with context %}
{# The customers `weeks` weeks ago. The label is 1 if they spent enough in the weeks that followed, else 0. #}
{% macro labelled(weeks) %}
SELECT
  recency_weeks,
  frequency,
  log_spend,
  IF(later_spend_usd >= {{ variables.enough_usd }}, 1, 0) AS spends_enough
FROM (
{{ history(weeks, variables.horizon_weeks) }})
{% endmacro %}
