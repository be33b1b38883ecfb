"""Apache Beam jobs between BigQuery and Bigtable: the export of a version, and the purge of stale cells."""
