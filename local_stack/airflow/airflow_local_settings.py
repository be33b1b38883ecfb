"""Imported by every Airflow process when it starts, so that what it forks need not import the operators again.

That is each task, and each parse of a DAG file.
"""

import foreserve.operators

__all__ = ["foreserve"]
