{# Held out in time: spending that lies after all that the model has learnt from. #}
{% from "labelled.sql" import labelled with context %}
{{ labelled(variables.horizon_weeks, variables.horizon_weeks) }}
