{#
  The features of each customer, from the days before `as_of`, which is `weeks` weeks before the day after the last known
  one. Days from the data cutoff on are not known. With a `horizon`, also the orders and the spend in the `horizon` weeks
  from `as_of` on, for labels.

  The table is read once. The sample data end in 1998, so its last day has to be found. With current data, write
  DATE_SUB(DATE({{ cutoff }}), INTERVAL {{ weeks }} WEEK) for `as_of`: BigQuery then reads only the partitions it needs.
#}
{% macro history(weeks, horizon=0) %}
SELECT
  customer_id,
  DIV(DATE_DIFF(as_of, MAX(IF(order_date < as_of, order_date, NULL)), DAY), 7) AS recency_weeks,
  DIV(DATE_DIFF(as_of, MIN(order_date), DAY), 7) AS tenure_weeks,
  COUNT(DISTINCT IF(order_date < as_of, order_date, NULL)) AS frequency,
  LN(1 + SUM(IF(order_date < as_of, amount_usd, 0))) AS log_spend{% if horizon %},
  COUNTIF(order_date >= as_of) AS later_orders,
  SUM(IF(order_date >= as_of, amount_usd, 0)) AS later_spend_usd
{%- endif %}

FROM (
  SELECT
    customer_id,
    order_date,
    amount_usd,
    DATE_SUB(DATE_ADD(MAX(order_date) OVER (), INTERVAL 1 DAY), INTERVAL {{ weeks }} WEEK) AS as_of
  FROM `{{ project }}.shop.transactions`
  WHERE order_date < DATE({{ cutoff }})
)
WHERE order_date < DATE_ADD(as_of, INTERVAL {{ horizon }} WEEK)
GROUP BY customer_id, as_of
HAVING MIN(order_date) < as_of
{% endmacro %}
