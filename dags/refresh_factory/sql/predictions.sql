{# All predictions, as the JSON that the lookup service sends. #}
CREATE OR REPLACE TABLE `{{ refresh.predictions_table }}` AS
SELECT
  CAST(entity_id AS STRING) AS entity_id,
  TO_JSON_STRING(prediction) AS payload
FROM (
{{ query }}
)
