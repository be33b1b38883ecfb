{#
  A number of the predictions; NULL for NaN and infinity. RANGE_BUCKET fails if a bound is NaN or NULL, so that one NaN
  in the active version would make this statement fail for ever
  (https://cloud.google.com/bigquery/docs/reference/standard-sql/mathematical_functions#range_bucket).
#}
{% macro number(field) %}
(
  SELECT IF(IS_NAN(number) OR IS_INF(number), NULL, number)
  FROM UNNEST([SAFE_CAST(JSON_VALUE(payload, '$.{{ field }}') AS FLOAT64)]) AS number
)
{% endmacro %}
{# A field of the predictions as JSON; NULL for null. #}
{% macro json(path) %}NULLIF(JSON_QUERY(payload, '{{ path }}'), 'null'){% endmacro %}
{#
  NaN, Infinity or -Infinity in JSON: the whole of a string, which is how TO_JSON_STRING writes such numbers
  (https://cloud.google.com/bigquery/docs/reference/standard-sql/json_functions#json_encodings), or outside strings.
#}
{% set non_finite %}r'^(?:[^"]|"(?:[^"\\]|\\.)*")*(?:NaN|Infinity|"(?:NaN|-?Infinity)"(?:$|[,\]}]))'{% endset %}
{# One row with the figures that the prediction gate judges. #}
{% set served = refresh.active_predictions_table %}
CREATE OR REPLACE TABLE `{{ refresh.measures_table }}` AS
SELECT *
FROM (
  SELECT
    COUNT(*) AS predictions,
    COUNT(entity_id) - COUNT(DISTINCT entity_id) AS repeated_ids,
    COUNTIF(entity_id IS NULL) AS null_ids,
    COUNTIF(payload IS NULL OR payload = 'null') AS null_payloads,
    MIN(BYTE_LENGTH(entity_id)) AS shortest_id,
    MAX(BYTE_LENGTH(entity_id)) AS longest_id,
    MAX(BYTE_LENGTH(payload)) AS longest_payload,
    COUNTIF(REGEXP_CONTAINS(payload, {{ non_finite }})) AS non_finite,
{% for field, path in fields.items() %}
    COUNTIF({{ json(path) }} IS NULL) AS nulls_{{ field }},
    IF(MIN({{ json(path) }}) = MAX({{ json(path) }}), 1, 0) AS constant_{{ field }},
{% endfor %}
    {{ fields | length }} AS fields
  FROM `{{ refresh.predictions_table }}`
)
{% if served %}
CROSS JOIN (SELECT COUNT(*) AS served FROM `{{ served }}`)
{% if gate.max_changed is not none %}
CROSS JOIN (
  SELECT COUNTIF(candidate.payload IS DISTINCT FROM served.payload) / GREATEST(COUNT(*), 1) AS changed_share
  FROM `{{ refresh.predictions_table }}` AS candidate
  FULL OUTER JOIN `{{ served }}` AS served
    ON candidate.entity_id = served.entity_id
)
{% endif %}
{% endif %}
{% for field, rule in gate.drift.items() %}
CROSS JOIN (
  SELECT COUNTIF({{ number(field) }} IS NOT NULL) AS numbers_{{ field }}
  FROM `{{ refresh.predictions_table }}`
)
{% if served %}
{#
  Population stability index: the sum over bins of (c - s) * ln(c / s), where c and s are the shares of this version and
  of the active version (N. Siddiqi, Credit Risk Scorecards, 2006, ch. 8). It equals Jeffreys' divergence. The bins are
  quantiles of the active version. Predictions without a number have a bin of their own. Each bin has half a row more,
  so that the logarithm is finite if one side has no row. NULL if the active version has no number.
#}
CROSS JOIN (
  WITH
    scores AS (
      SELECT TRUE AS is_candidate, {{ number(field) }} AS score FROM `{{ refresh.predictions_table }}`
      UNION ALL
      SELECT FALSE AS is_candidate, {{ number(field) }} AS score FROM `{{ served }}`
    ),
    quantiles AS (
      SELECT APPROX_QUANTILES(score, {{ rule.bins }}) AS bounds FROM scores WHERE NOT is_candidate
    ),
    bins AS (
      SELECT
        LEAST(GREATEST(RANGE_BUCKET(score, bounds), 1), {{ rule.bins }}) AS bin,
        COUNTIF(is_candidate) + 0.5 AS candidates,
        COUNTIF(NOT is_candidate) + 0.5 AS served,
        COUNTIF(NOT is_candidate AND score IS NOT NULL) AS served_numbers
      FROM scores
      CROSS JOIN quantiles
      GROUP BY bin
    ),
    shares AS (
      SELECT
        candidates / SUM(candidates) OVER () AS c,
        served / SUM(served) OVER () AS s,
        served_numbers
      FROM bins
    )
  SELECT IF(SUM(served_numbers) = 0, NULL, SUM((c - s) * LN(c / s))) AS psi_{{ field }}
  FROM shares
)
{% endif %}
{% endfor %}
