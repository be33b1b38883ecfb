{# Fails, with the reason, unless the predictions can be served. #}
SELECT IF(problem IS NULL, 'ok', ERROR(problem)) AS outcome
FROM (
  SELECT
    CASE
      WHEN predictions = 0
        THEN 'there are no predictions'
      WHEN null_ids > 0
        THEN CONCAT(CAST(null_ids AS STRING), ' predictions have no entity_id')
      WHEN null_payloads > 0
        THEN CONCAT(CAST(null_payloads AS STRING), ' predictions are NULL')
      WHEN predictions > entities
        THEN CONCAT(CAST(predictions - entities AS STRING), ' rows repeat the entity_id of another')
      WHEN shortest_id < 1 OR longest_id > {{ max_id_bytes }}
        THEN CONCAT('an entity_id has 1 to {{ max_id_bytes }} bytes; the shortest here has ',
          CAST(shortest_id AS STRING), ', the longest ', CAST(longest_id AS STRING))
      WHEN longest_payload > {{ checks.max_payload_bytes }}
        THEN CONCAT('checks.max_payload_bytes is {{ checks.max_payload_bytes }}; the longest prediction has ',
          CAST(longest_payload AS STRING))
{% if refresh.active_predictions_table and checks.max_row_change is not none %}
      WHEN ABS(predictions - active) > {{ checks.max_row_change }} * active
        THEN CONCAT('checks.max_row_change is {{ checks.max_row_change }}; there are ',
          CAST(predictions AS STRING), ' predictions, the served version has ', CAST(active AS STRING))
{% endif %}
    END AS problem
  FROM (
    SELECT
      COUNT(*) AS predictions,
      COUNT(DISTINCT entity_id) AS entities,
      COUNTIF(entity_id IS NULL) AS null_ids,
      COUNTIF(payload IS NULL OR payload = 'null') AS null_payloads,
      MIN(BYTE_LENGTH(entity_id)) AS shortest_id,
      MAX(BYTE_LENGTH(entity_id)) AS longest_id,
      MAX(BYTE_LENGTH(payload)) AS longest_payload
    FROM `{{ refresh.predictions_table }}`
  )
{% if refresh.active_predictions_table and checks.max_row_change is not none %}
  CROSS JOIN (SELECT COUNT(*) AS active FROM `{{ refresh.active_predictions_table }}`)
{% endif %}
)
