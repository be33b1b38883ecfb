{% from "people.sql" import people with context %}
SELECT *
FROM (
{{ people(5) }})
WHERE MOD(ABS(FARM_FINGERPRINT(person_id)), 6) > {{ variables.last_group }}
