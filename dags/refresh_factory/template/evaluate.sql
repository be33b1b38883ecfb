{# One query: held-out rows with the label. ML.EVALUATE evaluates the BigQuery models on them. #}
{% from "labelled.sql" import labelled with context %}
{{ labelled(variables.horizon_weeks) }}
