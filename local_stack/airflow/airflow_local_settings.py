"""Import the operators in every Airflow process that starts.

Airflow forks a process for each task and for each parse of a DAG file. The forks then need not import them again.
"""

import foreserve.operators

__all__ = ["foreserve"]
