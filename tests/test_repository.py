"""Rules that hold for the repository as a whole."""

import ast
import re
from pathlib import Path

import pytest

from tests.repository import ROOT, files

MAY_IMPORT = {
    "prediction_store": set(),
    "beam_jobs": {"prediction_store"},
    "serving_api": {"prediction_store"},
    "plugins/foreserve": {"prediction_store"},
    "dags": {"foreserve", "prediction_store", "local_bigquery"},  # local_bigquery: the analyzer, for the checker
    "local_stack": {"prediction_store", "foreserve"},  # foreserve: to warm Airflow's processes up
    "local_bigquery": set(),
    "foreserve_cli": {"prediction_store"},
    "benchmarks": {"beam_jobs", "prediction_store", "local_stack", "refresh_factory"},
}
OURS = {
    "prediction_store",
    "beam_jobs",
    "serving_api",
    "foreserve",
    "refresh_factory",
    "local_stack",
    "local_bigquery",
    "foreserve_cli",
    "benchmarks",
    "tests",
}


def imported(file):
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name.split(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module.split(".")[0]


@pytest.mark.parametrize("folder", MAY_IMPORT)
def test_imports_go_one_way(folder):
    own = {"refresh_factory"} if folder == "dags" else {Path(folder).name}
    for file in (ROOT / folder).rglob("*.py"):
        forbidden = set(imported(file)) & OURS - own - MAY_IMPORT[folder]
        assert not forbidden, f"{file.relative_to(ROOT)} imports {forbidden}"


def test_parsing_a_dag_file_imports_googles_clients_only_with_the_providers_operators():
    for file in (ROOT / "plugins").rglob("*.py"):
        top = ast.parse(file.read_text()).body
        names = {node.module.split(".")[0] for node in top if isinstance(node, ast.ImportFrom) and node.module}
        assert not names & {"google", "grpc"}, file


def test_only_the_checker_of_pipelines_has_the_analyzer_and_no_dag_file_imports_the_checker():
    checker = ROOT / "dags" / "refresh_factory" / "check"
    for file in [*(ROOT / "dags").rglob("*.py"), *(ROOT / "plugins").rglob("*.py")]:
        if file.parent != checker:
            assert "local_bigquery" not in set(imported(file)), file
            assert not re.search(r"refresh_factory\.check[ .]", file.read_text()), file


def test_one_package_uses_zetasql():
    files = [file for folder in MAY_IMPORT for file in (ROOT / folder).rglob("*.py") if "tests" not in file.parts]
    assert {file.parent.name for file in files if "zetasql" in set(imported(file))} == {"analyzer"}


def test_tests_wait_for_conditions_and_not_for_a_time():
    for file in [*(ROOT / "tests").rglob("*.py"), *(ROOT / "local_bigquery" / "tests").rglob("*.py")]:
        if file.name.startswith("test_") or file.name == "conftest.py":
            calls = [node for node in ast.walk(ast.parse(file.read_text())) if isinstance(node, ast.Call)]
            assert "time.sleep" not in {ast.unparse(call.func) for call in calls}, f"{file}: wait for a condition"


def pins(lock):
    lines = (ROOT / lock).read_text().splitlines()
    return dict(line.split(" ")[0].split("==") for line in lines if "==" in line and not line.startswith((" ", "#")))


def test_what_the_tests_of_the_service_ran_with_is_what_serves():
    assert pins("serving_api/requirements.txt").items() <= pins("requirements.txt").items()


SOURCES = sorted(str(file.relative_to(ROOT)) for file in files("*requirements*.in"))
LOCKS = [source.replace(".in", ".txt") for source in SOURCES if source != "tests/airflow_versions/requirements.in"]


@pytest.mark.parametrize("lock", LOCKS)
def test_a_lock_has_what_its_source_asks_for(lock):
    locked = {name.split("[")[0] for name in pins(lock)}
    lines = (ROOT / lock).with_suffix(".in").read_text().splitlines()
    asked = {line.split("#")[0].split("=")[0].split(">")[0].split("[")[0].strip() for line in lines}
    assert {name for name in asked if name and not name.startswith("-")} <= locked


@pytest.mark.parametrize("lock", LOCKS)
def test_every_package_of_a_lock_has_hashes(lock):
    packages = [line for line in (ROOT / lock).read_text().splitlines() if re.match(r"\w\S*==", line)]
    assert packages
    assert all(line.endswith(" \\") for line in packages)  # the first hash is on the next line


@pytest.mark.parametrize("source", SOURCES)
def test_every_package_that_is_asked_for_has_a_reason(source):
    for line in (ROOT / source).read_text().splitlines():
        if line and not line.startswith(("#", "-")):
            assert re.search(r" # .{3}", line), line
