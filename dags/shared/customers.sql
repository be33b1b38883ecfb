{# The day after the last known one, minus `weeks` weeks. Only days before the data cutoff are known. #}
{% macro as_of(weeks) %}
SELECT DATE_SUB(DATE_ADD(MAX(order_date), INTERVAL 1 DAY), INTERVAL {{ weeks }} WEEK) AS day
FROM `{{ project }}.shop.transactions`
WHERE order_date < DATE({{ cutoff }})
{% endmacro %}

{# The features of each customer, from the days before `as_of(weeks)`. #}
{% macro history(weeks) %}
SELECT
  customer_id,
  DIV(DATE_DIFF(as_of.day, MAX(order_date), DAY), 7) AS recency_weeks,
  DIV(DATE_DIFF(as_of.day, MIN(order_date), DAY), 7) AS tenure_weeks,
  COUNT(DISTINCT order_date) AS frequency,
  LN(1 + SUM(amount_usd)) AS log_spend
FROM `{{ project }}.shop.transactions`
CROSS JOIN (
{{ as_of(weeks) }}) AS as_of
WHERE order_date < as_of.day
GROUP BY customer_id, as_of.day
{% endmacro %}

{# The customers who bought in the `horizon` weeks from `as_of(weeks)` on, and how much they spent. #}
{% macro purchases_after(weeks, horizon) %}
SELECT
  customer_id,
  SUM(amount_usd) AS spend_usd
FROM `{{ project }}.shop.transactions`
CROSS JOIN (
{{ as_of(weeks) }}) AS as_of
WHERE order_date >= as_of.day
  AND order_date < DATE_ADD(as_of.day, INTERVAL {{ horizon }} WEEK)
GROUP BY customer_id
{% endmacro %}
