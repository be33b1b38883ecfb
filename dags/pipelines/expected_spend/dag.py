"""The Airflow DAG of this folder's pipeline."""

from refresh_factory import refresh_dag

dag = refresh_dag(__file__)
