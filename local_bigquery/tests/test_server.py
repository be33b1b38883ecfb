"""The process: its ports, its end, and the data that it keeps."""

import os
import shutil
import signal
import socket
import subprocess

import pytest
from google.api_core.exceptions import BadRequest, Conflict, NotFound

from local_server import ANY_PORTS, COMMAND, SLOW, LocalBigQuery


def test_tables_models_and_job_ids_survive_a_restart_with_a_data_dir(start, tmp_path):
    arguments = ("--data-dir", str(tmp_path / "data"))
    with start(*arguments) as server:
        client = server.client()
        client.create_dataset("d")
        client.query(
            "CREATE TABLE d.t AS SELECT x, 2 * x AS label FROM UNNEST([1, 2, 3]) AS x", job_id="once", job_retry=None
        ).result()
        client.query("CREATE MODEL d.m OPTIONS(model_type='LINEAR_REG') AS SELECT * FROM d.t").result()
        client.query("CREATE MODEL d.gone OPTIONS(model_type='LINEAR_REG') AS SELECT * FROM d.t").result()
        client.query("DROP MODEL d.gone").result()
        described = client.get_model("d.m")
        described.labels = {"team": "ads"}
        described = client.update_model(described, ["labels"])
        with pytest.raises(BadRequest):
            client.query("CREATE TABLE d.u AS SELECT * FROM ML.PREDICT(MODEL d.m, (SELECT ERROR('no') AS x))").result()
    with start(*arguments) as server:
        client = server.client()
        query = "SELECT ROUND(predicted_label, 2) AS y FROM ML.PREDICT(MODEL d.m, TABLE d.t) ORDER BY y"
        assert [row["y"] for row in client.query(query).result()] == [2.0, 4.0, 6.0]
        assert [model.model_id for model in client.list_models("d")] == ["m"]
        assert client.get_model("d.m").to_api_repr() == described.to_api_repr()
        assert not [job.job_id for job in client.list_jobs() if job.job_id.startswith("bigquery_ml_")]
        with pytest.raises(NotFound):
            client.query("SELECT * FROM ML.EVALUATE(MODEL d.gone)").result()
        with pytest.raises(Conflict):
            client.query("SELECT 1", job_id="once", job_retry=None)


def test_a_model_that_another_version_has_written_is_to_be_trained_again(start, tmp_path):
    arguments = ("--data-dir", str(tmp_path / "data"))
    create = "CREATE OR REPLACE MODEL d.m OPTIONS(model_type='LINEAR_REG') AS SELECT 1 AS x, 2.0 AS label"
    predict = "SELECT ROUND(predicted_label) AS y FROM ML.PREDICT(MODEL d.m, (SELECT 1 AS x))"
    with start(*arguments) as server:
        client = server.client()
        client.create_dataset("d")
        client.query(create).result()
        (file,) = (tmp_path / "data" / "models" / "demo" / "d").iterdir()
        file.write_bytes(file.read_bytes().replace(b"local_bigquery.ml.models", b"local_bigquery.ml.absent"))
        with pytest.raises(BadRequest, match=r"Model demo:d\.m was trained by another version .* train it again"):
            client.query(predict).result()
        client.query(create).result()
        assert [row["y"] for row in client.query(predict).result()] == [2.0]


PS = shutil.which("ps")


def emulator_of(server):
    """Return the process id of the emulator of a server."""
    command = [PS, "-o", "pid=", "--ppid", str(server.process.pid)]
    (child,) = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
    return int(child)


def test_an_interrupt_ends_it_and_the_emulator(start):
    with start() as server:
        child = emulator_of(server)
        server.process.send_signal(signal.SIGINT)
        assert server.process.wait(30) == 0
    assert subprocess.run([PS, "-p", str(child)], capture_output=True, check=False).returncode == 1


def test_the_end_of_the_emulator_ends_it_and_is_reported():
    with subprocess.Popen([COMMAND, *ANY_PORTS], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        rest = process.stdout.readline().split()[4]
        server = LocalBigQuery(process, rest, "")
        job = server.client().query(SLOW, job_retry=None)
        os.kill(emulator_of(server), signal.SIGKILL)
        with pytest.raises(Exception, match=r"The emulator behind the local BigQuery is gone|refused|closed|aborted"):
            job.result(retry=None, job_retry=None)
        _, reported = process.communicate(timeout=30)
    assert process.returncode == 1
    assert "The local BigQuery ends because its emulator ended: bqemulator ended with exit code -9" in reported
    assert "Traceback" not in reported


@pytest.mark.parametrize("option", ["--port", "--storage-port"])
def test_a_taken_port_is_named(option):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        arguments = {"--port": "0", "--storage-port": "0", option: str(port)}
        command = [COMMAND, *[word for pair in arguments.items() for word in pair]]
        result = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert result.returncode == 1
    assert f"Port {port} on 127.0.0.1" in result.stderr
    assert "is taken" in result.stderr
