"""Builds the refresh DAG of a pipeline: a folder with a `pipeline.yaml` and SQL files."""

from refresh_factory.dag import refresh_dag

__all__ = ["refresh_dag"]
