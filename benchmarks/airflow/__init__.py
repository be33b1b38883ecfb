"""Airflow's share: the cost of parsing pipelines, and the seconds that Airflow adds to a refresh."""
