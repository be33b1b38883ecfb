{# Learns from the customers two horizons ago. The horizon since then is held out for evaluate.sql. #}
{% from "labelled.sql" import labelled with context %}
CREATE OR REPLACE MODEL {{ model }}
OPTIONS (
  model_type = 'LOGISTIC_REG',
  input_label_cols = ['buys_again'],
  data_split_method = 'NO_SPLIT'
) AS
{{ labelled(2 * variables.horizon_weeks, variables.horizon_weeks) }}
