"""The files at their paths in the bucket, loaded by a real Airflow that has no other files of Foreserve."""

import sys

import pytest

from tests.deployment.deployed_airflow import check, lay_out, load_dags


@pytest.fixture(scope="module")
def gcs(tmp_path_factory):
    """The folder that Composer's processes have at /home/airflow/gcs."""
    folder = tmp_path_factory.mktemp("gcs")
    lay_out(folder)
    return folder


@pytest.mark.parametrize("order", ["plugins first", "DAGs first"])
def test_airflow_loads_dags_and_plugin(gcs, tmp_path, order):
    report = load_dags(sys.executable, gcs, tmp_path, gcs / "plugins", order)
    check(report, gcs)
    assert report["plugins"] == ["foreserve"]


def test_airflow_loads_the_dags_where_there_are_no_plugins(gcs, tmp_path):
    report = load_dags(sys.executable, gcs, tmp_path, tmp_path / "none", "DAGs first")
    check(report, gcs)
    assert report["plugins"] == []
