{% from "shared/customers.sql" import history with context %}
SELECT
  customer_id AS entity_id,
  STRUCT(
    ROUND((SELECT p.prob FROM UNNEST(predicted_buys_again_probs) AS p WHERE p.label = 1), 2) AS probability,
    predicted_buys_again = 1 AS buys_again,
    frequency AS purchases
  ) AS prediction
FROM ML.PREDICT(MODEL {{ model }}, (
{{ history(0) }}))
