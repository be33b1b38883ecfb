{# One CREATE OR REPLACE MODEL, of any type. It learns from weeks before those of evaluate.sql. #}
{% from "labelled.sql" import labelled with context %}
CREATE OR REPLACE MODEL {{ model }}
OPTIONS (
  model_type = 'LOGISTIC_REG',
  input_label_cols = ['spends_enough'],
  data_split_method = 'NO_SPLIT'
) AS
{{ labelled(2 * variables.horizon_weeks) }}
