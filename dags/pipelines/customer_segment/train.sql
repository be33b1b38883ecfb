{# One cluster for each name in predict.sql. KMEANS++ starts from customers that differ. #}
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
{{ habits() }})
