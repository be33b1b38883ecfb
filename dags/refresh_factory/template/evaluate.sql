{# One query: rows that the model has not learnt from, with the label. Models are judged on them by ML.EVALUATE. #}
{% from "labelled.sql" import labelled with context %}
{{ labelled(variables.horizon_weeks) }}
