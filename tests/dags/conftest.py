import pytest


@pytest.fixture(autouse=True)
def dag_settings(monkeypatch):
    """The settings of the DAGs."""
    monkeypatch.setenv("FORESERVE_PROJECT", "demo")
    monkeypatch.setenv("FORESERVE_BIGTABLE_INSTANCE", "local")
    monkeypatch.setenv("FORESERVE_DATAFLOW_TEMP_LOCATION", "gs://demo-temp/jobs")
