"""The commands of the local stack, as a person runs them."""

import signal
import socket
import subprocess
import sys
from contextlib import closing

import pytest

from local_stack import processes, supervisor
from local_stack.__main__ import _is_right
from local_stack.settings import INSTANCE, PROJECT
from local_stack.stack import DEFAULT_PORTS, ROOT, Service, Stack, choose_ports
from prediction_store.layout import Instance
from prediction_store.lifecycle import ModelState
from prediction_store.registry import Registry
from tests.waiting import wait_for

DEAF = ("sh", "-c", 'trap "" INT; exec "$@"', "sh")
"""Starts a command that ignores interrupts, unless it says otherwise: as shells start what runs in the background."""


@pytest.fixture
def command(tmp_path):
    """Starts a command of the stack with a state folder of its own."""

    def start(*words):
        return subprocess.Popen(
            [*DEAF, sys.executable, "-m", "local_stack", "--state", str(tmp_path), *words],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    yield start
    assert processes.running(tmp_path) == {}


def test_a_demo_on_the_embedded_bigtable_reports_and_leaves_nothing_running(command):
    demo = command("demo", "--bigtable", "embedded")
    report, _ = demo.communicate()
    assert demo.returncode == 0, report
    assert "Quality gate: candidate accepted" in report
    assert "23,570 of 23,570 predictions written" in report
    assert report.count("/v1/models/repeat_purchase/predictions/") == 3
    assert "p99" in report


def test_an_interrupted_start_leaves_nothing_running(command, tmp_path):
    up = command("up")
    wait_for(lambda: "bigquery" in processes.running(tmp_path))
    up.send_signal(signal.SIGINT)
    output, _ = up.communicate(timeout=60)
    assert up.returncode == 130, output


def test_up_and_down_work_twice_in_a_row_and_keep_what_there_is(command, tmp_path, monkeypatch):
    first = command("up")
    output, _ = first.communicate()
    assert first.returncode == 0, output
    before = {process.pid for found in processes.running(tmp_path).values() for process in found}
    second = command("up")
    output, _ = second.communicate()
    assert (second.returncode, "running already" in output) == (0, True), output
    assert before <= {process.pid for found in processes.running(tmp_path).values() for process in found}
    for name, value in supervisor.find(tmp_path).client_environment().items():
        monkeypatch.setenv(name, value)
    Registry(Instance(PROJECT, INSTANCE)).register(ModelState("churn", "customer"))
    stopped = command("down").communicate()[0]
    assert "stopped: Airflow, Lookup service" in stopped
    assert "kept: tables, BigQuery models, versions and runs" in stopped
    assert "nothing was running" in command("down").communicate()[0]
    found = command("up").communicate()[0]
    assert "no purchases to load" in found
    assert "churn (active version none of 0)" in found
    assert "forgotten" in command("forget").communicate()[0]
    assert not tmp_path.exists()
    assert "nothing to forget" in command("forget").communicate()[0]


def test_a_refresh_of_no_pipeline_is_refused(command, tmp_path):
    refresh = command("refresh", "churn")
    assert "make up starts it" in refresh.communicate()[0]
    assert refresh.returncode == 1


def test_a_refresh_checks_its_pipeline_first(tmp_path, capfd):
    stack = Stack(ports={}, state=tmp_path)
    assert _is_right(stack, "repeat_purchase")
    assert not _is_right(stack, "churn")
    assert "pipeline.yaml: the file is missing" in capfd.readouterr().out


def test_a_service_does_not_start_where_another_program_took_its_port(tmp_path):
    with closing(socket.create_server(("127.0.0.1", 0))) as taken:
        port = taken.getsockname()[1]
        service = Service("api", "The service", (sys.executable, "-c", "import time; time.sleep(60)"), {}, port)
        with subprocess.Popen(service.command) as process:
            with pytest.raises(processes.StartError, match=f"another program took port {port} meanwhile"):
                processes.wait_until_ready(service, process, tmp_path)
            process.kill()


def test_down_and_status_say_that_nothing_runs(command):
    down = command("down")
    assert "nothing was running" in down.communicate()[0]
    assert down.returncode == 0
    status = command("status")
    assert "not running; make up starts it" in status.communicate()[0]
    assert status.returncode == 1


def test_a_taken_port_is_replaced_by_a_free_one():
    with closing(socket.create_server(("127.0.0.1", 0))) as taken:
        port = taken.getsockname()[1]
        chosen = choose_ports({"api": port, "airflow": DEFAULT_PORTS["airflow"]})
    assert chosen["api"] not in (port, chosen["airflow"])
