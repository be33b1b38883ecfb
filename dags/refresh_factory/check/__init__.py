"""Checks pipelines without running them: `make check-pipelines`.

`templates` renders the SQL files and knows where each piece of the text came from; `bigquery` parses it; `metrics` has
what ML.EVALUATE returns; `rules` are what must hold of a pipeline. Only here is sqlglot imported, never by a DAG file.
"""
