"""Builds the refresh DAG of a pipeline: a folder with a `pipeline.yaml` and SQL files."""
