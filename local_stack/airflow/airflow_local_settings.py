"""Imported by every Airflow process when it starts, so that the tasks it forks need not import these again."""

from airflow.providers.google.cloud.triggers import bigquery

import foreserve.operators

__all__ = ["bigquery", "foreserve"]
