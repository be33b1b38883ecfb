"""The process: its ports, its end, and what it keeps."""

from __future__ import annotations

import shutil
import signal
import socket
import subprocess
import sys

import pytest
from google.api_core.exceptions import Conflict, NotFound


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
    with start(*arguments) as server:
        client = server.client()
        query = "SELECT ROUND(predicted_label, 2) AS y FROM ML.PREDICT(MODEL d.m, TABLE d.t) ORDER BY y"
        assert [row["y"] for row in client.query(query).result()] == [2.0, 4.0, 6.0]
        assert [model.model_id for model in client.list_models("d")] == ["m"]
        with pytest.raises(NotFound):
            client.query("SELECT * FROM ML.EVALUATE(MODEL d.gone)").result()
        with pytest.raises(Conflict):
            client.query("SELECT 1", job_id="once", job_retry=None)


def test_an_interrupt_ends_it_and_the_emulator(start):
    ps = shutil.which("ps")
    with start() as server:
        command = [ps, "-o", "pid=", "--ppid", str(server.process.pid)]
        (child,) = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
        server.process.send_signal(signal.SIGINT)
        assert server.process.wait(30) == 0
    assert subprocess.run([ps, "-p", child], capture_output=True, check=False).returncode == 1


@pytest.mark.parametrize("option", ["--port", "--storage-port"])
def test_a_taken_port_is_named(option):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        arguments = {"--port": "0", "--storage-port": "0", option: str(port)}
        command = [sys.executable, "-m", "local_stack.bigquery", *[word for pair in arguments.items() for word in pair]]
        result = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert result.returncode == 1
    assert f"Port {port} on 127.0.0.1" in result.stderr
    assert "is taken" in result.stderr
