{# As many clusters as predict.sql has names. KMEANS++ starts from customers who differ, not from any four. #}
{% from "habits.sql" import habits with context %}
CREATE OR REPLACE MODEL {{ model }}
OPTIONS (
  model_type = 'KMEANS',
  num_clusters = 4,
  kmeans_init_method = 'KMEANS++',
  standardize_features = TRUE
) AS
SELECT * EXCEPT (customer_id)
FROM (
{{ habits() | indent(2, first=true) }})
