{#
  The metrics of what readers had, by version. An outcome is joined with the prediction of the version that was active
  at `observed_at`. A second try replaces the rows of the first. NULL if a metric is undefined: the AUC of one class.

  The metrics are those of ML.EVALUATE, with its threshold of 0.5
  (https://cloud.google.com/bigquery/docs/reference/standard-sql/bigqueryml-syntax-evaluate#output).
  The AUC is the Mann-Whitney statistic of the mean ranks (Hanley and McNeil, Radiology 143, 1982).
#}
CREATE TABLE IF NOT EXISTS `{{ table }}` (
  measured_at TIMESTAMP,
  version INT64,
  outcomes INT64,
  first_observed_at TIMESTAMP,
  last_observed_at TIMESTAMP,
  metrics STRING,
  calibration ARRAY<STRUCT<predicted FLOAT64, observed FLOAT64, outcomes INT64>>
)
PARTITION BY DATE(measured_at)
OPTIONS (partition_expiration_days = 730);
DELETE FROM `{{ table }}` WHERE measured_at = {{ measured_at }};
INSERT INTO `{{ table }}`
WITH
  outcomes AS (
    SELECT CAST(entity_id AS STRING) AS entity_id, outcome, observed_at
    FROM (
{{ query }}
    )
    WHERE outcome IS NOT NULL
  ),
  served AS (
{% for each in served %}
    SELECT {{ each.version }} AS version, TIMESTAMP_MILLIS({{ each.since }}) AS since, TIMESTAMP_MILLIS({{ each.until }}) AS until
    {{- " UNION ALL" if not loop.last }}
{% endfor %}
  ),
  predictions AS (
{% for version, name in tables.items() %}
    SELECT {{ version }} AS version, entity_id, SAFE_CAST(JSON_VALUE(payload, '{{ path }}') AS FLOAT64) AS predicted
    FROM `{{ name }}`
    {{- " UNION ALL" if not loop.last }}
{% endfor %}
  ),
  judged AS (
    SELECT predictions.version, predictions.predicted, outcomes.outcome, outcomes.observed_at
    FROM outcomes
    JOIN served ON outcomes.observed_at >= served.since AND outcomes.observed_at < served.until
    JOIN predictions ON predictions.version = served.version AND predictions.entity_id = outcomes.entity_id
    -- False for NULL, too. One NaN or infinity would make every metric of the version NaN.
    WHERE NOT IS_NAN(predictions.predicted) AND NOT IS_INF(predictions.predicted)
  ),
{% if is_classification %}
  ranked AS (
    SELECT
      version,
      outcome,
      observed_at,
      predicted,
      IF(outcome, 1.0, 0.0) AS label,
      LEAST(GREATEST(IF(outcome, predicted, 1 - predicted), 1e-15), 1.0) AS likelihood,
      (
        RANK() OVER (PARTITION BY version ORDER BY predicted)
        + COUNT(*) OVER (PARTITION BY version) + 1 - RANK() OVER (PARTITION BY version ORDER BY predicted DESC)
      ) / 2 AS place,
      NTILE(10) OVER (PARTITION BY version ORDER BY predicted) AS decile
    FROM judged
  ),
  deciles AS (
    SELECT version, decile, AVG(predicted) AS predicted, AVG(label) AS observed, COUNT(*) AS outcomes
    FROM ranked
    GROUP BY version, decile
  ),
  calibrations AS (
    SELECT version, ARRAY_AGG(STRUCT(predicted, observed, outcomes) ORDER BY decile) AS calibration
    FROM deciles
    GROUP BY version
  ),
  counts AS (
    SELECT
      version,
      COUNT(*) AS outcomes,
      MIN(observed_at) AS first_observed_at,
      MAX(observed_at) AS last_observed_at,
      COUNTIF(outcome) AS positives,
      COUNTIF(NOT outcome) AS negatives,
      COUNTIF(predicted >= 0.5) AS predicted_positives,
      COUNTIF(outcome AND predicted >= 0.5) AS true_positives,
      COUNTIF(outcome = (predicted >= 0.5)) AS right_ones,
      SUM(IF(outcome, place, 0)) AS places_of_positives,
      AVG(-LN(likelihood)) AS log_loss
    FROM ranked
    GROUP BY version
  )
SELECT
  {{ measured_at }},
  version,
  outcomes,
  first_observed_at,
  last_observed_at,
  TO_JSON_STRING(STRUCT(
    IFNULL(SAFE_DIVIDE(true_positives, predicted_positives), 0) AS precision,
    IFNULL(SAFE_DIVIDE(true_positives, positives), 0) AS recall,
    right_ones / outcomes AS accuracy,
    IFNULL(SAFE_DIVIDE(2 * true_positives, positives + predicted_positives), 0) AS f1_score,
    log_loss,
    SAFE_DIVIDE(places_of_positives - positives * (positives + 1) / 2, positives * negatives) AS roc_auc
  )),
  calibration
FROM counts
JOIN calibrations USING (version)
{% else %}
  errors AS (
    SELECT
      version,
      observed_at,
      CAST(outcome AS FLOAT64) AS label,
      CAST(outcome AS FLOAT64) - predicted AS error,
      IF(outcome > -1 AND predicted > -1, LN(1 + CAST(outcome AS FLOAT64)) - LN(1 + predicted), NULL) AS log_error
    FROM judged
  )
SELECT
  {{ measured_at }},
  version,
  COUNT(*),
  MIN(observed_at),
  MAX(observed_at),
  TO_JSON_STRING(STRUCT(
    AVG(ABS(error)) AS mean_absolute_error,
    AVG(error * error) AS mean_squared_error,
    IF(COUNT(log_error) = COUNT(*), AVG(log_error * log_error), NULL) AS mean_squared_log_error,
    APPROX_QUANTILES(ABS(error), 2)[OFFSET(1)] AS median_absolute_error,
    1 - SAFE_DIVIDE(AVG(error * error), VAR_POP(label)) AS r2_score,
    1 - SAFE_DIVIDE(VAR_POP(error), VAR_POP(label)) AS explained_variance
  )),
  CAST(NULL AS ARRAY<STRUCT<predicted FLOAT64, observed FLOAT64, outcomes INT64>>)
FROM errors
GROUP BY version
{% endif %}
