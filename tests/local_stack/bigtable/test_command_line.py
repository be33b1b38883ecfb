"""The command `python -m local_stack.bigtable`: its messages, its search for cbtemulator, its end."""

import os
import signal
import socket
import stat
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import grpc
import pytest

from local_stack.bigtable import backup, cbtemulator
from local_stack.servers import BIGTABLE, running
from local_stack.settings import INSTANCE, PROJECT
from prediction_store.connection import mutate_rows, read_rows
from prediction_store.layout import Instance
from prediction_store.lifecycle import ModelState
from prediction_store.messages import CellAssembler, MutateRowsRequest, ReadRowsRequest
from prediction_store.registry import Registry
from prediction_store.tables import Tables

REPOSITORY = Path(__file__).parents[3]


def command(*arguments):
    return [sys.executable, "-m", "local_stack.bigtable", *arguments]


def executable(path, text="#!/bin/sh\n"):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return path


def run_with_cbtemulator(script, tmp_path):
    """Run the command with a script in place of cbtemulator."""
    executable(tmp_path / "cbtemulator", f"#!/bin/sh\n{script}\n")
    return subprocess.run(
        command("--port=0", "--implementation=cbtemulator"),
        cwd=REPOSITORY,
        env={**os.environ, "PATH": f"{tmp_path}{os.pathsep}{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.mark.parametrize("implementation", ["embedded", "cbtemulator"])
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_stops_it_and_frees_the_port(implementation, number):
    if implementation == "cbtemulator" and cbtemulator.find(os.environ) is None:
        pytest.skip("cbtemulator is not installed: gcloud components install bigtable")
    process = subprocess.Popen(
        command("--port=0", f"--implementation={implementation}"), cwd=REPOSITORY, stdout=subprocess.PIPE, text=True
    )
    with process:
        port = int(process.stdout.readline().rsplit(":", 1)[1])
        socket.create_connection(("127.0.0.1", port)).close()

        process.send_signal(number)

        assert process.wait(timeout=10) == 0
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port))


@pytest.mark.parametrize("implementation", ["embedded", "cbtemulator"])
def test_tables_are_kept_in_a_file(implementation, tmp_path):
    if implementation == "cbtemulator" and cbtemulator.find(os.environ) is None:
        pytest.skip("cbtemulator is not installed: gcloud components install bigtable")
    options = ("--implementation", implementation, "--keep", str(tmp_path / "tables"))
    instance = Instance(PROJECT, INSTANCE)
    with running(*BIGTABLE, *options) as line, store_at(line) as (registry, tables, channel):
        tables.ensure_registry()
        state = registry.register(ModelState("churn", "customer", keep_versions=7))
        tables.ensure_model(state)
        write(channel, instance.table("customer"), rows=25_000, cells=2)

    with running(*BIGTABLE, *options) as line, store_at(line) as (registry, tables, channel):
        assert registry.get("churn") == state
        assert read(channel, instance.table("customer")) == {
            key(n): [(2000, b"2"), (1000, b"1")] for n in range(25_000)
        }
        described = backup._admin(channel).get_table(name=instance.table("customer"))
        assert described.column_families["churn"].gc_rule.max_num_versions == state.cells_per_row


@contextmanager
def store_at(line):
    """Clients of a Bigtable: its registry, its tables, and a channel."""
    address = line.split()[-1]
    with pytest.MonkeyPatch.context() as environment, grpc.insecure_channel(address) as channel:
        environment.setenv("BIGTABLE_EMULATOR_HOST", address)
        yield Registry(Instance(PROJECT, INSTANCE)), Tables(Instance(PROJECT, INSTANCE)), channel


def key(number):
    return b"%05d" % number


def write(channel, table, rows, cells):
    for start in range(0, rows, 10_000):
        request = MutateRowsRequest(table_name=table)
        for number in range(start, min(start + 10_000, rows)):
            entry = request.entries.add(row_key=key(number))
            for version in range(1, cells + 1):
                cell = entry.mutations.add().set_cell
                cell.family_name, cell.column_qualifier, cell.value = "churn", b"p", b"%d" % version
                cell.timestamp_micros = version * 1000
        assert all(
            written.status.code == 0 for r in mutate_rows(channel)(request.SerializeToString()) for written in r.entries
        )


def read(channel, table):
    assembler = CellAssembler()
    responses = read_rows(channel)(ReadRowsRequest(table_name=table))
    return {
        row: [(timestamp, value) for _, _, timestamp, value, _ in cells]
        for response in responses
        for row, cells in assembler.feed(response)
    }


@pytest.mark.parametrize("implementation", ["embedded", "auto"])
def test_a_taken_port_is_named(implementation):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        finished = subprocess.run(
            command(f"--port={port}", f"--implementation={implementation}"),
            cwd=REPOSITORY,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    assert finished.returncode == 1
    assert f"cannot listen on 127.0.0.1:{port}: Address already in use" in finished.stderr
    assert "Traceback" not in finished.stderr


def test_a_cbtemulator_that_does_not_start_is_reported(tmp_path):
    finished = run_with_cbtemulator("echo no luck >&2; exit 3", tmp_path)

    assert (finished.returncode, finished.stdout) == (1, "")
    assert "no luck" in finished.stderr
    assert "cbtemulator ended with status 3 before it served" in finished.stderr


def test_a_cbtemulator_that_dies_ends_the_command(tmp_path):
    finished = run_with_cbtemulator("echo Cloud Bigtable emulator running on 127.0.0.1:4711; exit 2", tmp_path)

    assert finished.stdout == "Bigtable (cbtemulator) is serving at 127.0.0.1:4711\n"
    assert finished.returncode == 1
    assert "cbtemulator ended with status 2" in finished.stderr


class TestFind:
    def test_cbtemulator_on_the_path_comes_first(self, tmp_path):
        on_path = executable(tmp_path / "bin" / "cbtemulator")
        executable(tmp_path / "sdk/platform/bigtable-emulator/cbtemulator")

        found = cbtemulator.find({"PATH": str(on_path.parent), "CLOUDSDK_ROOT_DIR": str(tmp_path / "sdk")})

        assert found == on_path

    def test_cbtemulator_is_found_in_the_sdk_that_the_environment_names(self, tmp_path):
        below_sdk = executable(tmp_path / "platform/bigtable-emulator/cbtemulator")

        assert cbtemulator.find({"CLOUDSDK_ROOT_DIR": str(tmp_path)}) == below_sdk

    def test_cbtemulator_is_found_in_the_sdk_of_a_linked_gcloud(self, tmp_path):
        below_sdk = executable(tmp_path / "sdk/platform/bigtable-emulator/cbtemulator")
        gcloud = executable(tmp_path / "sdk/bin/gcloud")
        (tmp_path / "bin").mkdir()
        (tmp_path / "bin/gcloud").symlink_to(gcloud)

        assert cbtemulator.find({"PATH": str(tmp_path / "bin")}) == below_sdk

    def test_a_file_that_cannot_be_executed_is_skipped(self, tmp_path):
        broken = tmp_path / "broken/platform/bigtable-emulator/cbtemulator"
        broken.parent.mkdir(parents=True)
        broken.write_text("not a program")
        gcloud = executable(tmp_path / "sdk/bin/gcloud")
        works = executable(tmp_path / "sdk/platform/bigtable-emulator/cbtemulator")

        environment = {"CLOUDSDK_ROOT_DIR": str(tmp_path / "broken"), "PATH": str(gcloud.parent)}

        assert cbtemulator.find(environment) == works
