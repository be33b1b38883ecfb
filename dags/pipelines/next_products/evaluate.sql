{# Held out in time: all that households bought in the last months, also products that they knew. #}
{% from "ratings.sql" import ratings with context %}
{{ ratings(held_out=True) }}
