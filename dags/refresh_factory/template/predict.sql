{# One query with two columns: the id to look up, and the prediction, which is served as JSON. #}
{% from "shared/customers.sql" import history with context %}
SELECT
  customer_id AS entity_id,
  STRUCT(
    ROUND((SELECT p.prob FROM UNNEST(predicted_spends_enough_probs) AS p WHERE p.label = 1), 2) AS probability
  ) AS prediction
FROM ML.PREDICT(MODEL {{ model }}, (
{{ history(0) }}))
