{# BigQuery numbers clusters in any order. Ranked by spend, they keep their names when the model is trained again. #}
{% from "habits.sql" import habits with context %}
SELECT
  customers.customer_id AS entity_id,
  STRUCT(
    CASE segments.spend_rank
      WHEN 1 THEN 'top'
      WHEN 2 THEN 'high'
      WHEN 3 THEN 'medium'
      ELSE 'low'
    END AS segment,
    segments.spend_rank AS spend_rank
  ) AS prediction
FROM ML.PREDICT(MODEL {{ model }}, (
{{ habits() }})) AS customers
JOIN (
  SELECT
    centroid_id,
    ROW_NUMBER() OVER (ORDER BY numerical_value DESC) AS spend_rank
  FROM ML.CENTROIDS(MODEL {{ model }})
  WHERE feature = 'log_spend'
) AS segments
  ON segments.centroid_id = customers.centroid_id
