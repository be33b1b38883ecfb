{# The input of ML.RECOMMEND is empty: every household gets a confidence in every product. #}
SELECT
  household_id AS entity_id,
  STRUCT(
    ARRAY_AGG(
      STRUCT(product, ROUND(predicted_rating_confidence, 4) AS score)
      ORDER BY predicted_rating_confidence DESC, product
      LIMIT 10
    ) AS products
  ) AS prediction
FROM ML.RECOMMEND(MODEL {{ model }})
GROUP BY household_id
