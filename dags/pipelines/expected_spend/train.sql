{# Learns from the customers two horizons ago. The horizon since then is held out for evaluate.sql. #}
{% from "labelled.sql" import labelled with context %}
CREATE OR REPLACE MODEL {{ model }}
OPTIONS (
  model_type = 'BOOSTED_TREE_REGRESSOR',
  input_label_cols = ['spend_usd'],
  max_tree_depth = 4,
  min_tree_child_weight = 100,
  data_split_method = 'NO_SPLIT'
) AS
{{ labelled(2 * variables.horizon_weeks, variables.horizon_weeks) }}
