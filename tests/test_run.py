import pytest

from tests.repository import ROOT
from tests.run import ENVIRONMENTS, OTHER_TARGETS, suites


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["tests/plugins", "-k", "gate"], {"airflow": ["tests/plugins", "-k", "gate"]}),
        (["tests/local_stack/bigtable"], {"local_stack": ["tests/local_stack/bigtable"]}),
        (["local_bigquery/tests/sql"], {"local_bigquery": ["local_bigquery/tests/sql"]}),
        (["tests/test_run.py::test_x"], {"airflow": ["tests/test_run.py::test_x"]}),
        (["tests/infra"], {"airflow": ["tests/infra", "--ignore=tests/infra/terraform"]}),
        (["tests/infra/terraform"], {"airflow": ["tests/infra/terraform"]}),
        (
            ["tests/browser", "tests/end_to_end/test_gates.py", "-x"],
            {"browser": ["tests/browser", "-x"], "local_stack": ["tests/end_to_end/test_gates.py", "-x"]},
        ),
    ],
)
def test_tests_run_in_the_environment_of_their_folder(arguments, expected):
    assert suites(arguments) == expected


def test_without_a_path_all_runs_but_the_folders_of_other_targets():
    found = suites(["-k", "gate"])
    assert found.keys() == {"airflow", "local_stack", "local_bigquery"}
    assert found["airflow"][0] == "tests"
    assert {f"--ignore={folder}" for folder in (*OTHER_TARGETS, "tests/local_stack")} <= set(found["airflow"])
    assert found["local_stack"][0] == "tests/local_stack"
    assert all(arguments[-2:] == ["-k", "gate"] for arguments in found.values())


def test_its_folders_are_there():
    for folder in (*ENVIRONMENTS, *OTHER_TARGETS):
        assert (ROOT / folder).is_dir(), folder
