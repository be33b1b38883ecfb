"""The jobs, launched by their task's command from the files as they are in Airflow's bucket."""

import json
import subprocess
import sys

import pytest

from foreserve.cloud import Cloud
from foreserve.operators import RunBeamJob
from prediction_store.layout import Instance
from prediction_store.lifecycle import Receipt
from tests.deployment.deployed_airflow import bare_environment, lay_out

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def gcs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("gcs")
    lay_out(folder)
    return folder


def launch(gcs, job, arguments, home):
    """Run a job's command. Only its path says where the packages are."""
    operator = RunBeamJob(
        task_id="export",
        python=sys.executable,
        script=str(gcs / "dags" / "beam_jobs" / f"{job}.py"),
        runner="FnApiRunner",
        options={},
        rows_without_dataflow=0,
        cloud=Cloud("demo", "US", Instance("demo", "beam"), "", "google_cloud_default", "prediction_api"),
        region="europe-west1",
    )
    command = [operator.py_interpreter, *operator.py_options, operator.py_file, *arguments]
    environment = bare_environment(gcs, home, gcs / "plugins")
    return subprocess.run(command, cwd=home, env=environment, capture_output=True, text=True, check=False)


@pytest.fixture
def exporting(new_model, begin_export, source_table, arguments):
    """A model, its version to be exported, and the job's options."""
    model = new_model()
    version = begin_export(model)
    changes = source_table([("a", json.dumps({"p": 1})), ("b", json.dumps({"p": 2}))])
    return model, version, arguments(model, version, source_table=changes)


def test_an_export_from_there(gcs, tmp_path, exporting, stored, registry):
    model, version, arguments = exporting
    ended = launch(gcs, "export_predictions", arguments, tmp_path)
    assert ended.returncode == 0, ended.stderr
    assert stored(model, version) == {"a": '{"p": 1}', "b": '{"p": 2}'}
    assert registry.get(model).versions[version].receipt == Receipt(predictions=2, tombstones=0)


@pytest.mark.parametrize("job", ["export_predictions", "purge_stale_cells"])
def test_every_job_starts_from_there(gcs, tmp_path, job):
    ended = launch(gcs, job, ["--help"], tmp_path)
    assert ended.returncode == 0, ended.stderr
    assert "--bigtable_instance" in ended.stdout
