"""Compiles ZetaSQL, so that the first statement need not wait for it: `python -m local_bigquery.analyzer`."""

from local_bigquery.analyzer.service import prepare

prepare()
