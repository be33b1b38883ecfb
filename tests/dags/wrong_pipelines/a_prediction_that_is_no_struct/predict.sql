{% from "people.sql" import people with context %}
SELECT
  person_id AS entity_id,
  predicted_default AS prediction
FROM ML.PREDICT(MODEL {{ model }}, (
{{ people(5) }}))
