{# What was known of each customer `weeks` weeks before the end of the transactions. #}
{% macro features(weeks) %}
WITH cutoff AS (
  SELECT DATE_SUB(DATE_ADD(MAX(order_date), INTERVAL 1 DAY), INTERVAL {{ weeks }} WEEK) AS day
  FROM `{{ project }}.shop.transactions`
)
SELECT
  customer_id,
  cutoff.day AS cutoff_day,
  DIV(DATE_DIFF(cutoff.day, MAX(order_date), DAY), 7) AS recency_weeks,
  DIV(DATE_DIFF(cutoff.day, MIN(order_date), DAY), 7) AS tenure_weeks,
  COUNT(DISTINCT order_date) AS frequency,
  LN(1 + SUM(amount_usd)) AS log_spend
FROM `{{ project }}.shop.transactions`
CROSS JOIN cutoff
WHERE order_date < cutoff.day
GROUP BY customer_id, cutoff.day
{% endmacro %}

{# The same, and whether the customer bought in the `horizon` weeks that followed. #}
{% macro labelled_features(weeks, horizon) %}
SELECT
  recency_weeks,
  tenure_weeks,
  frequency,
  log_spend,
  EXISTS (
    SELECT 1
    FROM `{{ project }}.shop.transactions` AS later
    WHERE later.customer_id = known.customer_id
      AND later.order_date >= known.cutoff_day
      AND later.order_date < DATE_ADD(known.cutoff_day, INTERVAL {{ horizon }} WEEK)
  ) AS buys_again
FROM (
{{ features(weeks) | indent(2, first=true) }}) AS known
{% endmacro %}
