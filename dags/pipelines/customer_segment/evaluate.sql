{# Clusters have no label that could be held out: both models are judged on the customers that they are to divide. #}
{% from "habits.sql" import habits with context %}
{{ habits() }}
