{# A large l2_reg and few factors, because tastes in groceries differ little. #}
{% from "ratings.sql" import ratings with context %}
CREATE OR REPLACE MODEL {{ model }}
OPTIONS (
  model_type = 'MATRIX_FACTORIZATION',
  feedback_type = 'IMPLICIT',
  user_col = 'household_id',
  item_col = 'product',
  rating_col = 'rating',
  num_factors = 16,
  wals_alpha = 1,
  l2_reg = 30,
  data_split_method = 'NO_SPLIT'
) AS
{{ ratings(held_out=False) }}
