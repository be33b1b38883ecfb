{# The rows to write. A NULL payload is a tombstone: the entity has no prediction any more. #}
CREATE OR REPLACE TABLE `{{ refresh.changes_table }}` AS
{% if refresh.active_predictions_table %}
SELECT
  COALESCE(candidate.entity_id, served.entity_id) AS entity_id,
  candidate.payload AS payload
FROM `{{ refresh.predictions_table }}` AS candidate
FULL OUTER JOIN `{{ refresh.active_predictions_table }}` AS served
  ON candidate.entity_id = served.entity_id
{% if scope == "changes" %}
WHERE candidate.payload IS DISTINCT FROM served.payload
{% endif %}
{% else %}
SELECT entity_id, payload
FROM `{{ refresh.predictions_table }}`
{% endif %}
