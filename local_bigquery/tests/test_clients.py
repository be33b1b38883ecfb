"""Clients other than the Python client of the other tests: the bq command and Airflow."""

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest

AIRFLOW_PYTHON = Path(__file__).parents[2] / ".venvs" / "airflow" / "bin" / "python"


@pytest.fixture
def bq(local_bigquery, tmp_path):
    """Runs the bq command and returns the JSON value in its standard output, or the output if there is none."""
    if shutil.which("bq") is None:
        pytest.skip("the bq command is not installed")
    installed = Path(shutil.which("bq")).resolve().parents[1]
    command = [
        "bq", "--api", local_bigquery.rest, "--project_id", "demo", "--oauth_access_token=none", "--format", "json",
        "--discovery_file", str(installed / "platform/bq/discovery_next/bigquery.json"),
    ]  # fmt: skip
    environment = {"HOME": str(tmp_path), "PATH": os.environ["PATH"]}

    def run(*arguments):
        result = subprocess.run(
            [*command, *arguments], capture_output=True, text=True, timeout=120, check=False, env=environment
        )
        assert result.returncode == 0, result
        start = min((place for place in map(result.stdout.find, "[{") if place >= 0), default=None)
        return result.stdout if start is None else json.loads(result.stdout[start:])

    return run


def test_bq_queries_and_writes_a_destination_table(bq, rows, dataset, customers, model):
    query = ("query", "--nouse_legacy_sql")
    sql = f"SELECT COUNT(*) AS n FROM ML.PREDICT(MODEL {model}, TABLE {customers})"
    assert bq(*query, sql) == [{"n": "1200"}]
    bq(*query, "--destination_table", f"{dataset}.counts", "--replace", sql)
    assert rows(f"SELECT * FROM {dataset}.counts") == [{"n": 1200}]
    assert bq(*query, "--dry_run", sql)["statistics"]["query"]["schema"]["fields"][0]["name"] == "n"


def test_bq_lists_shows_changes_and_removes_models(bq, client, rows, dataset):
    for name in ("a", "b"):
        rows(f"CREATE MODEL {dataset}.{name} OPTIONS(model_type='LINEAR_REG') AS SELECT 1 AS x, 2.0 AS label")
    assert [model["modelReference"]["modelId"] for model in bq("ls", "-m", dataset)] == ["a", "b"]
    bq("update", "-m", "--set_label", "team:ads", f"{dataset}.a")
    bq("update", "-m", "--description", "constant", "--expiration", "3600", f"{dataset}.a")
    shown = bq("show", "-m", f"{dataset}.a")
    assert (shown["labels"], shown["description"]) == ({"team": "ads"}, "constant")
    assert int(shown["expirationTime"]) > int(shown["lastModifiedTime"])
    assert [column["name"] for column in shown["featureColumns"]] == ["x"]
    bq("rm", "-f", "-m", f"{dataset}.a")
    assert [model.model_id for model in client.list_models(dataset)] == ["b"]


@pytest.mark.skipif(not AIRFLOW_PYTHON.exists(), reason="the environment of Airflow is not installed")
def test_the_operators_and_the_hook_of_airflow_work(local_bigquery, dataset, tmp_path):
    connection = {"conn_type": "google_cloud_platform", "extra": {"is_anonymous": True, "project": "demo"}}
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(tmp_path),
        "AIRFLOW_HOME": str(tmp_path),
        "AIRFLOW_CONN_GOOGLE_CLOUD_DEFAULT": json.dumps(connection),
        "BIGQUERY_EMULATOR_HOST": local_bigquery.rest,
        "GOOGLE_CLOUD_PROJECT": "demo",
    }
    script = Path(__file__).with_name("airflow_operators.py")
    result = subprocess.run(
        [AIRFLOW_PYTHON, script, dataset], capture_output=True, text=True, timeout=120, check=False, env=environment
    )
    assert result.returncode == 0, result.stderr[-3000:]
    found = json.loads(result.stdout.splitlines()[-1])
    assert "already exists and is in DONE state" in found.pop("refusal")
    assert found.pop("labels")["from"] == "airflow"
    assert found == {"data": [["8"]], "statement": "CREATE_MODEL", "models": ["m"]}
