{# Held out in time: labels that lie after all that the model has learnt from. #}
{% from "features.sql" import labelled_features with context %}
{{ labelled_features(variables.horizon_weeks, variables.horizon_weeks) }}
