"""Imported by every Airflow process when it starts, so that the tasks it forks need not import the operators again."""

from airflow.providers.apache.beam.operators import beam
from airflow.providers.google.cloud.operators import bigquery

import foreserve.operators

__all__ = ["beam", "bigquery", "foreserve"]
