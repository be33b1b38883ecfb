{% from "people.sql" import people with context %}
CREATE OR REPLACE MODEL {{ model }}
OPTIONS (
  model_type = 'LOGISTIC_REG',
  input_label_cols = ['default']
) AS
SELECT * EXCEPT (person_id)
FROM (
{{ people(variables.last_group) }})
