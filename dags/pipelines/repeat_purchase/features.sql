{# The day `weeks` weeks before the end of the transactions: from there, what came later is unknown. #}
{% macro cutoff(weeks) %}
SELECT DATE_SUB(DATE_ADD(MAX(order_date), INTERVAL 1 DAY), INTERVAL {{ weeks }} WEEK) AS day
FROM `{{ project }}.shop.transactions`
{% endmacro %}

{# What was known of each customer on that day. #}
{% macro features(weeks) %}
SELECT
  customer_id,
  DIV(DATE_DIFF(cutoff.day, MAX(order_date), DAY), 7) AS recency_weeks,
  DIV(DATE_DIFF(cutoff.day, MIN(order_date), DAY), 7) AS tenure_weeks,
  COUNT(DISTINCT order_date) AS frequency,
  LN(1 + SUM(amount_usd)) AS log_spend
FROM `{{ project }}.shop.transactions`
CROSS JOIN (
{{ cutoff(weeks) | indent(2, first=true) }}) AS cutoff
WHERE order_date < cutoff.day
GROUP BY customer_id, cutoff.day
{% endmacro %}

{# The same, and whether the customer bought (1 or 0) in the `horizon` weeks that followed. #}
{% macro labelled_features(weeks, horizon) %}
SELECT
  known.recency_weeks,
  known.tenure_weeks,
  known.frequency,
  known.log_spend,
  IF(later.customer_id IS NULL, 0, 1) AS buys_again
FROM (
{{ features(weeks) | indent(2, first=true) }}) AS known
LEFT JOIN (
  SELECT DISTINCT customer_id
  FROM `{{ project }}.shop.transactions`
  CROSS JOIN (
{{ cutoff(weeks) | indent(4, first=true) }}  ) AS cutoff
  WHERE order_date >= cutoff.day
    AND order_date < DATE_ADD(cutoff.day, INTERVAL {{ horizon }} WEEK)
) AS later
  ON later.customer_id = known.customer_id
{% endmacro %}
