"""The mistakes of a newcomer, each with its finder and its message.

mistakes.yaml has the mistakes, found.txt the finders and messages. Run as a program, this module writes found.txt anew.
"""

import os
import shutil
from pathlib import Path
from tempfile import TemporaryDirectory
from types import SimpleNamespace

import pytest
import yaml
from google.auth.credentials import AnonymousCredentials
from google.cloud import bigquery as bq

from foreserve.airflow_compat import AirflowFailException
from foreserve.operators.base import check_conf
from foreserve.operators.bigquery import prediction_fields
from foreserve.refresh import Refresh
from prediction_store.layout import MAX_ENTITY_ID_BYTES
from refresh_factory.check.rules import check_pipelines
from refresh_factory.dag import refresh_dag
from refresh_factory.pipeline import PipelineError, load_pipeline
from refresh_factory.statements import Statements

FOLDER = Path(__file__).parent / "mistakes"
FOUND = FOLDER / "found.txt"
SECTIONS = yaml.safe_load((FOLDER / "mistakes.yaml").read_text())
FILES = {
    name: edits
    for section in ("found at once", "not found at once", "others")
    for name, edits in SECTIONS[section].items()
}
CHOICES = {
    name: (section.removeprefix("choices of "), conf)
    for section in ("choices of a refresh", "choices of roll_back")
    for name, conf in SECTIONS[section].items()
}
BY_RUNNING = ("a label in other letters",)
NOBODY = "nobody: it is none"
CHECK = "make check-pipelines"
HEADER = f"""\
The finder of each mistake in mistakes.yaml, and its message. Written by tests/dags/test_mistakes.py.

{CHECK} looks at all pipelines in a second or two. The import of the DAG and open_version come before a refresh
does anything; the prediction gate comes before the export.
"""


def write(folder, edits):
    """Write the pipeline `right` with a mistake."""
    shutil.copytree(FOLDER / "right", folder)
    for name, edit in edits.items():
        file = folder / name
        if edit is None:
            file.unlink()
            continue
        old, new = edit
        assert old in file.read_text()
        file.write_text(file.read_text().replace(old, new, 1))
    return folder


def found_in_files(parent, name, edits):
    """The finders of a mistake in a pipeline's files before anything runs, and the messages."""
    folder = write(parent / "right", edits)
    folders = [folder]
    if "another model" in name:
        folders.insert(0, write(parent / "other", {"pipeline.yaml": ["model: right", "model: other"]}))
    messages = [str(problem).replace(f"{folder}/", "") for problem in check_pipelines(folders)]
    finders = [CHECK] * bool(messages)
    if (folder / "dag.py").is_file():
        try:
            dag = refresh_dag(str(folder / "dag.py"))
            finders += ["open_version"] * bool(dag.get_task("open_version").find_mistakes())
        except PipelineError:
            finders.append("the import of the DAG")
    return ", ".join(finders) or NOBODY, [message.replace(os.path.relpath(parent), "..") for message in messages]


def found_by_running(parent, edits, client):
    """The finder of a mistake in the predictions, and the messages."""
    folder = write(parent / "run", edits)
    pipeline = load_pipeline(folder)
    statements = Statements(folder, pipeline, "demo")
    refresh = Refresh("right", abs(hash(str(edits))), "demo.foreserve", cutoff="2026-01-01T00:00:00+00:00")
    client.query_and_wait(statements.train(refresh))
    client.query_and_wait(statements.evaluate(refresh, compare=False))
    client.query_and_wait(statements.predict(refresh, refresh.candidate_model))
    client.query_and_wait(statements.measure(refresh, prediction_fields(client, refresh)))
    measures = dict(next(iter(client.list_rows(refresh.measures_table))).items())
    gate = pipeline.prediction_gate
    breaches = gate.errors(measures, MAX_ENTITY_ID_BYTES) or [
        judgement.text for judgement in gate.judge(measures) if not judgement.holds
    ]
    return "the prediction gate" if breaches else NOBODY, breaches


def found_in_choices(dag, conf):
    """The finder of a wrong choice of a run, and the message."""
    with pytest.raises(AirflowFailException) as refused:
        check_conf({"dag": dag, "dag_run": SimpleNamespace(conf=conf)})
    return dag.task_ids[0], str(refused.value).splitlines()


def dags():
    """The DAGs that a person triggers."""
    import decisions  # noqa: PLC0415  needs the settings

    return {"a refresh": refresh_dag(str(FOLDER / "right" / "dag.py")), "roll_back": decisions.choose.dag}


def golden():
    """The finder and the messages of each mistake."""
    blocks = [block.splitlines() for block in FOUND.read_text().removeprefix(HEADER).strip().split("\n\n")]
    return {name: (by.removeprefix("  found by "), [each.strip() for each in said]) for name, by, *said in blocks}


@pytest.fixture(scope="module")
def warehouse(bigquery):
    """A client of a BigQuery with the people of the pipeline `right`."""
    return fill(bq.Client("demo", credentials=AnonymousCredentials()))


def fill(client):
    for dataset in ("my_lab", "foreserve"):
        client.create_dataset(dataset, exists_ok=True)
    client.query_and_wait(
        "CREATE OR REPLACE TABLE my_lab.people AS "
        "SELECT CONCAT('p', CAST(n AS STRING)) AS person_id, MOD(n, 60) AS age, n * 1.5 AS income, n / 7 AS balance, "
        "['a'] AS tags, IF(MOD(n, 60) + MOD(n * 37, 41) > 50, 'Yes', 'No') AS `default` "
        "FROM UNNEST(GENERATE_ARRAY(1, 300)) AS n"
    )
    return client


@pytest.mark.parametrize("name", FILES)
def test_a_mistake_in_the_files_is_found_with_file_line_value_and_fix(name, tmp_path):
    assert found_in_files(tmp_path, name, FILES[name]) == ((NOBODY, []) if name in BY_RUNNING else golden()[name])


@pytest.mark.parametrize("name", BY_RUNNING)
def test_a_mistake_that_only_shows_in_predictions_is_found_before_the_export(name, tmp_path, warehouse):
    assert found_by_running(tmp_path, FILES[name], warehouse) == golden()[name]


@pytest.mark.parametrize("name", CHOICES)
def test_a_wrong_choice_is_found_by_the_first_task(name):
    dag, conf = CHOICES[name]
    assert found_in_choices(dags()[dag], conf) == golden()[name]


def test_each_mistake_has_its_finder_and_the_right_pipeline_has_none(tmp_path):
    assert golden().keys() == {*FILES, *CHOICES}
    assert (len(SECTIONS["found at once"]), len(SECTIONS["not found at once"])) == (45, 24)
    assert found_in_files(tmp_path, "none", {}) == (NOBODY, [])


def main():
    """Write found.txt."""
    from tests.servers import bigquery_server  # noqa: PLC0415

    os.environ.update(
        FORESERVE_PROJECT="demo",
        FORESERVE_BIGTABLE_INSTANCE="local",
        FORESERVE_DATAFLOW_TEMP_LOCATION="gs://demo-temp/jobs",
    )
    known = {name: found_in_choices(dags()[dag], conf) for name, (dag, conf) in CHOICES.items()}
    with bigquery_server() as (rest, _):
        os.environ["BIGQUERY_EMULATOR_HOST"] = f"http://{rest}"
        client = fill(bq.Client("demo", credentials=AnonymousCredentials()))
        for name, edits in FILES.items():
            with TemporaryDirectory() as parent:
                known[name] = (
                    found_by_running(Path(parent), edits, client)
                    if name in BY_RUNNING
                    else found_in_files(Path(parent), name, edits)
                )
    blocks = ["\n  ".join([name, f"found by {known[name][0]}", *known[name][1]]) for name in [*FILES, *CHOICES]]
    FOUND.write_text("\n\n".join([HEADER.rstrip(), *blocks]) + "\n")


if __name__ == "__main__":
    main()
