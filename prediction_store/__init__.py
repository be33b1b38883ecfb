"""Predictions in Bigtable: their layout, the read rule, and the registry of versions.

The Airflow tasks, the Beam jobs and the service share this package. It imports none of them.
"""
