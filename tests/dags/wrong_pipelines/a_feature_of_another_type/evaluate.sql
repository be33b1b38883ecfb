{% from "people.sql" import people with context %}
SELECT * REPLACE (CAST(age AS STRING) AS age)
FROM (
{{ people(5) }})
WHERE MOD(ABS(FARM_FINGERPRINT(person_id)), 6) > {{ variables.last_group }}
