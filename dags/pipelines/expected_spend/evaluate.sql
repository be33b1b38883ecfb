{# Held out in time: the spend in the last horizon, which train.sql does not use. #}
{% from "labelled.sql" import labelled with context %}
{{ labelled(variables.horizon_weeks, variables.horizon_weeks) }}
