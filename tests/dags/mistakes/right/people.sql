{# The people whose group is at most `last`; their groups are 0 to 5. #}
{% macro people(last) %}
SELECT
  person_id,
  age,
  income,
  balance,
  `default`
FROM `{{ project }}.my_lab.people`
WHERE MOD(ABS(FARM_FINGERPRINT(person_id)), 6) <= {{ last }}
{% endmacro %}
