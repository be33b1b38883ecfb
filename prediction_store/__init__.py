"""How predictions lie in Bigtable, how they are read, and which version of them is served.

Shared by the Airflow tasks, the Beam jobs and the lookup service; depends on none of the three.
"""
