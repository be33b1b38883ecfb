{# What is to be written. A NULL payload is a tombstone: the entity has no prediction any more. #}
CREATE OR REPLACE TABLE `{{ refresh.changes_table }}` AS
{% if refresh.active_predictions_table %}
SELECT
  COALESCE(new.entity_id, old.entity_id) AS entity_id,
  new.payload AS payload
FROM `{{ refresh.predictions_table }}` AS new
FULL OUTER JOIN `{{ refresh.active_predictions_table }}` AS old
  ON new.entity_id = old.entity_id
{% if scope == "changes" %}
WHERE new.payload IS DISTINCT FROM old.payload
{% endif %}
{% else %}
SELECT entity_id, payload
FROM `{{ refresh.predictions_table }}`
{% endif %}
