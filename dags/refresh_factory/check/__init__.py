"""The checker of pipelines: finds mistakes without running anything (`make check-pipelines`).

`rules` has the checks, `ml` the functions of BigQuery ML, `schemas` the recorded columns of tables. The analyzer is
`local_bigquery.analyzer`, which no DAG file imports.
"""
