{% from "people.sql" import people with context %}
SELECT * EXCEPT (`default`)
FROM (
{{ people(5) }})
WHERE MOD(ABS(FARM_FINGERPRINT(person_id)), 6) > {{ variables.last_group }}
