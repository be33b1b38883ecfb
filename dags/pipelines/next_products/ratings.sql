{#
  The implicit rating of each product by each household that bought it: the logarithm, because some buy it very often.
  From the held-out months, or from those before.
#}
{% macro ratings(held_out) %}
SELECT
  household_id,
  product,
  LN(1 + SUM(baskets)) AS rating
FROM (
  SELECT
    *,
    DATE_SUB(MAX(month) OVER (), INTERVAL {{ variables.held_out_months - 1 }} MONTH) AS held_out_from
  FROM `{{ project }}.grocery.purchases`
  WHERE month < DATE({{ cutoff }})
)
WHERE month {{ ">=" if held_out else "<" }} held_out_from
GROUP BY household_id, product
{% endmacro %}
