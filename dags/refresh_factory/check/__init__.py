"""The checker of pipelines: finds mistakes without running anything (`make check-pipelines`).

`rules` has the checks. `templates` renders the SQL files and traces each piece of SQL to its line. `bigquery` parses
the SQL, by sqlglot, which no DAG file imports.
"""
