{# Clusters have no label, so there is nothing to hold out. Both BigQuery models are evaluated on all customers. #}
{% from "habits.sql" import habits with context %}
{{ habits() }}
