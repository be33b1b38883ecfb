from contextlib import suppress
from functools import reduce
from operator import getitem
from pathlib import Path

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from refresh_factory.pipeline import PipelineError, load_pipeline

GOOD = "model: churn\nentity_type: customer\nquality_gate: {metrics: {roc_auc: {minimum: 0.7}}}\n"
PIPELINES = Path(__file__).parents[2] / "dags" / "pipelines"


@pytest.fixture
def load(tmp_path):
    """Loads a pipeline from the text of its YAML file."""
    for name in ("train.sql", "evaluate.sql", "predict.sql"):
        (tmp_path / name).write_text("SELECT 1")

    def load_text(yaml, **arguments):
        (tmp_path / "pipeline.yaml").write_text(yaml)
        return load_pipeline(tmp_path, **arguments)

    return load_text


def test_the_defaults_are_those_of_the_design(load):
    pipeline = load(GOOD)
    assert (pipeline.keep_versions, pipeline.row_keys, pipeline.schedule) == (4, "plain", None)
    assert pipeline.smoke_test.objective_p99_ms == 100


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (GOOD + "variables: {My-Days: 3}\n", r":4: variables.My-Days.\[key\]: 'My-Days' is no name"),
        (GOOD + "schedule: @weekly\n", r"pipeline.yaml:4: not YAML: .*cannot start any token"),
        ("model: [", r"pipeline.yaml:1: not YAML: "),
        ("model: {{ x }}", r"pipeline.yaml:1: not YAML: .*unhashable key"),
        (GOOD + "variables:\n  since: 2026-06-31\n", r"pipeline.yaml:5: not YAML: day is out of range"),
        (GOOD + "keep_versions: !!int few\n", r"pipeline.yaml:4: not YAML: invalid literal for int"),
        (GOOD + "owner: \x07\n", r"pipeline.yaml: not YAML: unacceptable character"),
        ("model: " + "[" * 5_000, r"pipeline.yaml: not YAML: nested too deeply"),
        ("model: &m [*m]\n", r"pipeline.yaml:1: model: "),
        ("just text", r"pipeline.yaml:1: expected fields such as"),
        ("", r"pipeline.yaml:1: expected fields such as .* found None"),
        (GOOD + "schedule: 0 25 * * *\n", r"schedule: '0 25 \* \* \*': .*neither a cron expression"),
        (GOOD + "assets: [orders]\n", r"assets.0: 'orders': .*no URI of an asset; write one such as"),
        (GOOD + "assets: ['airflow://x/y']\n", r"assets.0: 'airflow://x/y': .*no URI of an asset"),
        (
            GOOD + "prediction_gate: {drift: {p: {bins: 10}}}\n",
            r":4: prediction_gate.drift.p.max_psi: the field is missing",
        ),
        (GOOD + "prediction_gate: {on_breach: keep_champion}\n", r"gate.on_breach: 'keep_champion': .*'stop' or 'ask'"),
        (
            GOOD + "prediction_gate: {drift: {p: {max: 1}}}\n",
            r":4: prediction_gate.drift.p.max: no such .* max_psi",
        ),
        (
            GOOD + "alerts: {on_failure: [{to: me}]}\n",
            r":4: alerts.on_failure.0.to: no such field; .* notifier,",
        ),
        (GOOD + "checks: {drift: {p: {bins: 10}}}\n", r":4: prediction_gate.drift.p.max_psi: the field is missing"),
        (
            GOOD + "checks: {}\nprediction_gate: {}\n",
            r":4: checks: the old name of prediction_gate, which is given too; remove one of them",
        ),
        (
            GOOD + "prediction_gate:\n  on_breach: ask\n  when_closed: ask\n",
            r":6: prediction_gate.when_closed: the old name of prediction_gate.on_breach, which is given too",
        ),
        (GOOD + "alerts: {on_failure: [{notifier: nowhere.Mail}]}\n", r"alerts.on_failure.0: .*is no notifier here"),
    ],
)
def test_an_error_names_file_line_field_and_fix(load, text, message):
    """tests/dags/mistakes has more of them."""
    with pytest.raises(PipelineError, match=message):
        load(text)


def test_a_file_in_another_encoding_is_an_error(load, tmp_path):
    load(GOOD)
    (tmp_path / "pipeline.yaml").write_bytes(GOOD.encode() + b"owner: \xe9\n")
    with pytest.raises(PipelineError, match=r"not YAML: write the file in UTF-8"):
        load_pipeline(tmp_path)


PATHS = [(), ("model",), ("schedule",), ("variables",), ("prediction_gate", "drift", "p"), ("alerts", "on_failure")]
scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.dates() | st.binary(max_size=5)
values = st.recursive(scalars, lambda v: st.lists(v) | st.dictionaries(st.text() | st.integers(), v), max_leaves=4)


@given(path=st.sampled_from(PATHS), value=values)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=200, deadline=None)
def test_any_value_anywhere_is_accepted_or_an_error_of_the_pipeline(load, path, value):
    document = yaml.safe_load(GOOD) | {"prediction_gate": {"drift": {"p": {"max_psi": 0.2}}}, "alerts": {}}
    section = reduce(getitem, path[:-1], document)
    if path:
        section[path[-1]] = value
    with suppress(PipelineError):
        load(yaml.safe_dump(document if path else value, allow_unicode=True))


@given(text=st.text(alphabet=":-[]{}&*!|>'\"%@#,? \n\tab1.~e=<", max_size=40))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=200, deadline=None)
def test_any_text_is_accepted_or_an_error_of_the_pipeline(load, text):
    with suppress(PipelineError):
        load(GOOD + text)


def test_a_refresh_may_start_by_a_clock_or_by_assets(load):
    assert load(GOOD + "schedule: 0 3 * * 1-5\n").schedule == "0 3 * * 1-5"
    assert load(GOOD + "schedule: '@daily'\n").schedule == "@daily"
    assert load(GOOD + "assets: ['bigquery://shop/sales/orders']\n").assets == ["bigquery://shop/sales/orders"]


OLD = """
model: churn
entity_type: customer
quality_gate:
  metrics: {roc_auc: {minimum: 0.7}}
  when_closed: stop
checks:
  max_row_change: 0.2
  when_closed: ask
"""


def test_fields_under_their_old_names_are_accepted_with_a_warning(load, tmp_path):
    warnings = []
    pipeline = load(OLD, warn=warnings.append)
    assert (pipeline.quality_gate.on_breach, pipeline.prediction_gate.on_breach) == ("stop", "ask")
    assert pipeline.prediction_gate.max_row_change == 0.2
    assert [str(warning).removeprefix(f"{tmp_path}/pipeline.yaml:") for warning in warnings] == [
        "7: warning: checks: the old name of prediction_gate; rename the field",
        "6: warning: quality_gate.when_closed: the old name of quality_gate.on_breach; rename the field",
        "9: warning: prediction_gate.when_closed: the old name of prediction_gate.on_breach; rename the field",
    ]


def test_warnings_are_logged_where_a_dag_file_is_parsed(load, caplog):
    load(OLD)
    assert "pipeline.yaml:7: warning: checks: the old name of prediction_gate" in caplog.text
    assert {record.levelname for record in caplog.records} == {"WARNING"}


def test_all_errors_are_reported_at_once(load):
    with pytest.raises(PipelineError) as caught:
        load("entity_type: customer\nrow_keys: salted\n")
    assert len(caught.value.problems) == str(caught.value).count("pipeline.yaml:") == 3


def test_outcomes_need_both_the_file_and_the_section(load, tmp_path):
    with pytest.raises(PipelineError, match=r"pipeline.yaml:4: outcomes: there is no outcomes.sql; add it, or remove"):
        load(GOOD + "outcomes: {field: p}\n")
    (tmp_path / "outcomes.sql").write_text("SELECT 1")
    assert load(GOOD + "outcomes: {field: p}\n").outcomes.keep_days == 100
    with pytest.raises(PipelineError, match=r"outcomes.sql: pipeline.yaml has no section outcomes; add it with"):
        load(GOOD)


@pytest.mark.parametrize("folder", [path for path in PIPELINES.iterdir() if path.is_dir()], ids=lambda path: path.name)
def test_every_pipeline_of_the_project_loads(folder):
    assert load_pipeline(folder).model == folder.name
