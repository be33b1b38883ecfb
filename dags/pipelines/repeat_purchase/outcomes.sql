{#
  Whether the customers of one horizon ago bought within it. The sample data end in 1998, long before readers had a
  prediction, so what readers have at the cutoff stands for what they had then. With current data, readers had it when
  the horizon began: TIMESTAMP_SUB({{ cutoff }}, INTERVAL 7 * {{ variables.horizon_weeks }} DAY) AS observed_at
#}
{% from "shared/customers.sql" import history with context %}
SELECT
  customer_id AS entity_id,
  later_orders > 0 AS outcome,
  {{ cutoff }} AS observed_at
FROM (
{{ history(variables.horizon_weeks, variables.horizon_weeks) }})
