{% from "people.sql" import people with context %}
SELECT
  person_id AS entity_id,
  STRUCT(
    (SELECT ROUND(p.prob, 3) FROM UNNEST(predicted_default_probs) AS p WHERE p.label = 'Yes') AS probability,
    predicted_default = 'Yes' AS will_default,
    balance AS balance
  ) AS prediction
FROM ML.PREDICT(MODEL {{ model }}, (
{{ people(5) }}))
