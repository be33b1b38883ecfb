{# The prediction is the baseline (an average customer) plus the part that each feature adds, apart from rounding. #}
{% from "shared/customers.sql" import history with context %}
SELECT
  customer_id AS entity_id,
  STRUCT(
    ROUND(predicted_spend_usd, 2) AS spend_usd,
    ROUND(baseline_prediction_value, 2) AS baseline_usd,
    ARRAY(
      SELECT AS STRUCT a.feature AS feature, ROUND(a.attribution, 2) AS adds_usd
      FROM UNNEST(top_feature_attributions) AS a
      ORDER BY ABS(a.attribution) DESC, a.feature
    ) AS because
  ) AS prediction
FROM ML.EXPLAIN_PREDICT(MODEL {{ model }}, (
{{ history(0) }}), STRUCT(4 AS top_k_features))
