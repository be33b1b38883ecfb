"""The operators, called as by Airflow, on the local BigQuery and Bigtable."""

import json
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace

import grpc
import httpx
import pytest
from airflow.models import DagRun as AirflowRun
from airflow.sdk.definitions.param import ParamsDict
from airflow.sdk.exceptions import AirflowException, AirflowFailException, AirflowSkipException
from hypothesis import given, settings
from hypothesis import strategies as st

from foreserve import airflow_compat, operators
from foreserve.operators import (
    AbortVersion,
    ChooseVersion,
    CleanUp,
    DecideVersion,
    OpenVersion,
    SwitchVersion,
    WaitForReplication,
)
from foreserve.operators.base import check_conf, keep_failure
from foreserve.operators.versions import _active_version, data_cutoff
from foreserve.refresh import Refresh
from foreserve.smoke_test import SmokeTest
from foreserve_plugin import ForeservePlugin
from prediction_store import decisions
from prediction_store.lifecycle import ModelState, Receipt, Status
from prediction_store.tables import Tables
from refresh_factory.trigger_form import trigger_form
from tests.plugins.conftest import DATASET, DagRun


def test_a_first_version_has_nothing_to_compare_with(open_version, registry):
    refresh = open_version()
    assert (refresh.active, refresh.champion_model, refresh.active_predictions_table) == (None, None, None)
    assert registry.get(refresh.model).latest == refresh.version


DUE = datetime(2026, 11, 23, 5, tzinfo=UTC)
EARLIER = DUE - timedelta(weeks=1)


@pytest.mark.parametrize(
    "run",
    [
        AirflowRun(run_type="manual", logical_date=None, run_after=DUE),
        AirflowRun(run_type="manual", logical_date=DUE, run_after=DUE + timedelta(days=9)),
        AirflowRun(run_type="scheduled", logical_date=EARLIER, run_after=DUE, data_interval=(EARLIER, DUE)),
        SimpleNamespace(run_type="scheduled", logical_date=EARLIER, data_interval_end=DUE),  # as in Airflow 2
    ],
)
def test_data_count_up_to_the_logical_date_or_when_the_run_was_due(run):
    assert data_cutoff(run) == DUE


def test_without_a_champion_there_is_nothing_to_reuse_and_no_version_is_opened(open_version, registry):
    with pytest.raises(AirflowFailException, match="no active version whose BigQuery model could be reused"):
        open_version(retrain=False)
    assert all(state.latest == 0 for state in registry.models() if state.versions == {})


def test_a_later_version_knows_what_is_served(open_version, promoted):
    first = promoted()
    second = open_version(retrain=False)
    assert second.active == first.version < second.version
    assert second.champion_model == first.candidate_model
    assert second.active_predictions_table == first.predictions_table


def test_a_rollback_while_a_version_is_opened_changes_what_it_is_compared_with(
    monkeypatch, open_version, promoted, registry
):
    first, second = promoted(), promoted()

    def roll_back(_operator, state):
        registry.update(state.model, lambda state: state.roll_back(first.version, reason="a test", now=1))

    monkeypatch.setattr(OpenVersion, "_create_tables", roll_back)
    third = open_version()
    assert third.active == first.version < second.version < third.version
    assert (third.champion_model, third.active_predictions_table) == (first.candidate_model, first.predictions_table)


def test_a_registry_that_was_restored_is_noticed_and_a_full_export_mends_it(open_version, promoted, registry):
    first = promoted()
    backup = registry.get(first.model)
    lost = promoted()
    restored = registry.update(first.model, lambda _: backup)
    with pytest.raises(AirflowFailException, match=rf"lost the versions \[{lost.version}\].* with export: full"):
        open_version()
    assert registry.get(first.model) == restored
    third = open_version(export="full")
    assert third.active == first.version
    assert registry.get(first.model).stale_versions(third.version) == [lost.version]


def test_a_registry_that_is_empty_is_filled_again(open_version, promoted, registry):
    lost = promoted()
    registry.update(lost.model, lambda state: ModelState(state.model, state.entity_type))
    refresh = open_version()
    assert (refresh.active, refresh.active_predictions_table) == (None, None)
    assert registry.get(lost.model).stale_versions(refresh.version) == [lost.version]


def test_tables_of_a_team_are_no_lost_versions(open_version, promoted, registry, warehouse):
    first = promoted()
    for suffix in ("20261130", "20261130120000", "draft"):
        warehouse.query_and_wait(f"CREATE TABLE `{DATASET}.{first.model}_changes_{suffix}` (entity_id STRING)")
    refresh = open_version()
    assert registry.get(first.model).stale_versions(refresh.version) == []


def test_a_second_run_is_refused_and_tried_again_later(open_version):
    first = DagRun()
    open_version(run=first)
    being_made = rf"is being made by .*/dags/refresh_m/runs/{first.run_id}, whose lease"
    with pytest.raises(AirflowException, match=being_made) as caught:
        open_version(unfinished_runs=[first.run_id])
    assert not isinstance(caught.value, AirflowFailException)


def test_another_airflows_run_is_waited_for_too(open_version, monkeypatch):
    first = DagRun()
    open_version(run=first)
    monkeypatch.setenv("AIRFLOW__API__BASE_URL", "http://another.example.com")
    with pytest.raises(AirflowException, match="is being made by"):
        open_version()
    with pytest.raises(AirflowException, match="is being made by"):
        open_version(run=first)  # only the run id is the same


def test_a_run_that_was_stopped_before_it_aborted_its_version_blocks_no_other(open_version):
    stopped = open_version()
    assert open_version().version > stopped.version


def test_a_run_that_opens_a_version_again_goes_on_with_it(open_version):
    run = DagRun()
    assert open_version(run=run, unfinished_runs=[run.run_id]) == open_version(run=run, unfinished_runs=[run.run_id])


@pytest.mark.parametrize(
    ("conf", "problem"),
    [
        ({"retrian": False, "promot": False}, r"retrian: no such field; there are retrain, .*; promot: no such field"),
        ({"smoke_test_rate": float("nan")}, "smoke_test_rate: nan is no finite number"),
        ({"smoke_test_rate": float("inf")}, "smoke_test_rate: inf is no finite number"),
        ({"smoke_test_requests": 99}, "smoke_test_requests: 99: "),
        ({"smoke_test_requests": 100.5}, r"smoke_test_requests: 100\.5: "),
        ({"promote": "no"}, "promote: 'no': "),
        ({"export": "all"}, "export: 'all': "),
        ({"reason": 5}, "reason: 5: "),
    ],
)
def test_a_wrong_choice_is_refused_before_anything_is_done(open_version, registry, conf, problem):
    open_version()
    known = list(registry.models())
    with pytest.raises(AirflowFailException, match=problem):
        open_version(run=DagRun(conf=conf))
    assert list(registry.models()) == known


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.sampled_from([10**400, "\ud800"]),
    lambda value: st.lists(value) | st.dictionaries(st.text(), value),
    max_leaves=4,
)


@given(st.dictionaries(st.sampled_from(sorted(trigger_form(SmokeTest()))) | st.text(), values, max_size=3))
@settings(max_examples=300, deadline=None)
def test_any_conf_is_accepted_or_refused(conf):
    dag = SimpleNamespace(params=ParamsDict(trigger_form(SmokeTest())))
    with suppress(AirflowFailException):
        check_conf({"dag": dag, "dag_run": DagRun(conf=conf)})


def test_right_choices_are_accepted(open_version):
    assert open_version(run=DagRun(conf={"retrain": True, "smoke_test_requests": 100.0, "reason": None}))


def test_a_logical_date_in_the_future_is_refused(open_version):
    with pytest.raises(AirflowFailException, match=r"the logical date .* is in the future"):
        open_version(run=DagRun(logical_date=datetime.now(UTC) + timedelta(days=1)))


def test_settings_that_do_not_fit_the_models_versions_are_not_tried_again(cloud, context, open_version):
    refresh = open_version()
    other = ModelState(refresh.model, "product")
    with pytest.raises(AirflowFailException, match="entity_type and row_keys cannot change"):
        OpenVersion(task_id="open_version", cloud=cloud, initial=other, dataset=DATASET, create_tables=True).execute(
            context()
        )


def test_mistakes_in_the_files_are_found_before_a_version_is_opened(cloud, context, open_version, registry):
    refresh = open_version()
    operator = OpenVersion(
        task_id="open_version",
        cloud=cloud,
        initial=ModelState(refresh.model, "customer"),
        dataset=DATASET,
        create_tables=True,
        find_mistakes=lambda: ["train.sql:3: not a Jinja template", "predict.sql:1: gone: not defined"],
    )
    with pytest.raises(AirflowFailException, match=r"^train.sql:3: not a Jinja template\npredict.sql:1: gone"):
        operator.execute(context())
    assert registry.get(refresh.model).latest == refresh.version


def test_a_backfill_is_refused(open_version, registry):
    with pytest.raises(AirflowFailException, match=r"a backfill is refused: .* trigger the DAG with that logical date"):
        open_version(run=DagRun(run_type="backfill"))


def test_a_promotion_is_kept_and_told(compute, open_version, prepare, promote, registry):
    refresh = open_version()
    compute(refresh, {"a": "1"}, {"a": "1", "b": None})
    prepare(refresh)
    registry.update(refresh.model, lambda state: state.complete_export(refresh.version, Receipt(1, 1)))
    event = promote(refresh)
    assert (
        event.items()
        >= {
            "event": "prediction version promoted",
            "model": refresh.model,
            "version": refresh.version,
            "previous": None,
            "predictions_written": 1,
            "tombstones_written": 1,
            "by": "Ann",
        }.items()
    )
    promotion = registry.get(refresh.model).versions[refresh.version].details["promotion"]
    assert (promotion["by"], promotion["run_id"], promotion["previous"]) == ("Ann", "manual__1", None)


def test_an_export_is_announced_with_its_numbers(compute, open_version, prepare, registry):
    refresh = open_version()
    compute(refresh, {"a": "1", "b": "2", "c": "3"}, {"a": "1", "z": None})
    assert prepare(refresh) == "export"
    record = registry.get(refresh.model).versions[refresh.version]
    assert record.status is Status.EXPORTING
    assert record.details["counts"] == {"predictions": 3, "written": 1, "tombstones": 1, "unchanged": 2}
    assert record.details["example"] in {"a", "b", "c"}
    assert record.details["bigquery_model"] == "m"


def test_stale_cells_are_purged_before_an_export(compute, open_version, prepare, registry):
    first = open_version()
    compute(first, {"a": "1"}, {"a": "1"})
    prepare(first)
    registry.update(first.model, lambda state: state.abort(first.version, None, reason="a test", now=1))
    second = open_version()
    compute(second, {"a": "1"}, {"a": "1"})
    assert prepare(second) == "purge"
    record = registry.get(second.model).versions[second.version]
    assert (record.status, record.details["counts"]["written"]) == (Status.OPEN, 1)


def test_without_a_decision_the_champion_predicts(compute, open_version, prepare, promoted, registry):
    champion = promoted().candidate_model
    refresh = open_version(retrain=False)
    compute(refresh, {"a": "1"}, {})
    prepare(refresh, model="")
    assert registry.get(refresh.model).versions[refresh.version].details["bigquery_model"] == champion


def test_an_export_that_is_short_of_a_row_is_not_promoted(compute, open_version, prepare, promote, registry):
    refresh = open_version()
    compute(refresh, {"a": "1", "b": "2"}, {"a": "1", "b": "2"})
    prepare(refresh)
    registry.update(refresh.model, lambda state: state.complete_export(refresh.version, Receipt(1, 0)))
    with pytest.raises(AirflowFailException, match=r"BigQuery has 2 predictions .* the export wrote 1"):
        promote(refresh)
    state = registry.get(refresh.model)
    ended = state.versions[refresh.version].details["ended"]
    assert (state.active, ended["kind"], ended["task"]) == (None, "not_promoted", "promote")
    assert "BigQuery has 2 predictions" in ended["reason"]


def test_replication_is_awaited(open_version, task):
    assert task(WaitForReplication, open_version(), entity_type="customer", poll_seconds=0.1).poke({})


def test_a_cluster_that_lags_is_waited_for_without_a_worker_slot(open_version, task, monkeypatch, registry):
    refresh = open_version()
    lease = registry.get(refresh.model).versions[refresh.version].run_lease_until
    monkeypatch.setattr(Tables, "wait_for_replication", lambda *_: False)
    sensor = task(WaitForReplication, refresh, entity_type="customer", poll_seconds=0.1)
    assert sensor.reschedule
    assert sensor.poke({}) is False
    assert registry.get(refresh.model).versions[refresh.version].run_lease_until > lease


@pytest.fixture
def abort(context, task):
    def run_abort(refresh, **failures):
        given = context()
        given["ti"].failures = failures
        task(AbortVersion, refresh, dataflow_jobs=["", ""], region="us-central1").execute(given)

    return run_abort


@pytest.mark.parametrize(
    ("failures", "expected"),
    [
        ({"train": "no such table"}, ("train", "no such table")),
        ({"train": "no such table", "export": "return code 1"}, ("train", "no such table; export: return code 1")),
        ({}, ("", "a task of the run was ended from outside")),
    ],
)
def test_the_registry_has_the_reason_why_a_version_was_aborted(abort, open_version, registry, failures, expected):
    refresh = open_version()
    abort(refresh, **failures)
    ended = registry.get(refresh.model).versions[refresh.version].details["ended"]
    assert (ended["kind"], ended["task"], ended["reason"]) == ("aborted", *expected)


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (ValueError("no column x at 3.5. Look again.\nmore"), "no column x at 3.5"),
        (ValueError("first line\nsecond"), "first line"),
        (ValueError("x" * 1000), "x" * 500),
        (None, "failed without a message"),
    ],
)
def test_a_task_that_fails_leaves_the_first_sentence_of_its_error(context, error, reason):
    given = context()
    keep_failure(given | {"exception": error})
    assert given["ti"].xcoms == {"failure": reason}


def test_a_registry_that_cannot_be_reached_is_the_first_sentence_of_the_error(cloud):
    with (
        grpc.insecure_channel("127.0.0.1:1") as channel,
        pytest.raises(AirflowException, match=r"^the registry in Bigtable cannot be reached: UNAVAILABLE: "),
        ChooseVersion(task_id="choose", cloud=cloud, model="m", version="").registry(),
    ):
        channel.unary_unary("/method")(b"", timeout=10)


@pytest.mark.parametrize(
    ("answer", "active"),
    [
        (httpx.Response(200, json={"active_version": 7}), 7),
        (httpx.Response(200, json={"active_version": None}), None),
        (httpx.Response(503), "nothing (HTTP 503)"),
        (httpx.Response(200, text="hello"), "nothing (JSONDecodeError)"),
        (httpx.Response(200, json={"hello": "world"}), "nothing (KeyError)"),
        (httpx.Response(200, json=[7]), "nothing (TypeError)"),
    ],
)
def test_a_service_that_does_not_tell_the_active_version_is_asked_again(answer, active):
    with httpx.Client(base_url="http://service", transport=httpx.MockTransport(lambda _: answer)) as client:
        assert _active_version(client, "m") == active


def test_aborting_leaves_readers_where_they_were(abort, open_version, promoted, registry):
    first = promoted()
    second = open_version()
    abort(second)
    state = registry.get(second.model)
    assert (state.active, state.versions[second.version].status) == (first.version, Status.ABORTED)
    assert state.versions[second.version].details["ended"]["kind"] == "aborted"


def test_what_a_failed_refresh_made_is_dropped_when_the_next_one_fails(
    abort, compute, open_version, promoted, warehouse
):
    served, failed = promoted(), open_version()
    compute(failed, {"a": "1"}, {"a": "1"})
    warehouse.query_and_wait(
        f"CREATE MODEL `{failed.candidate_model}` OPTIONS(model_type='LINEAR_REG', "
        "input_label_cols=['y']) AS SELECT x, 2.0 * x AS y FROM UNNEST([1.0, 2.0, 3.0]) AS x"
    )

    def made_by(refresh):
        tables = {table.table_id for table in warehouse.list_tables(DATASET)}
        models = {model.model_id for model in warehouse.list_models(DATASET)}
        names = (refresh.predictions_table, refresh.changes_table, refresh.candidate_model)
        return {name.rpartition(".")[2] for name in names} & (tables | models)

    abort(failed)
    assert len(made_by(failed)) == 3
    abort(open_version())
    assert made_by(failed) == set()
    assert len(made_by(served)) == 2


def test_what_the_registry_refuses_is_not_tried_again(abort, compute, open_version, prepare):
    unheard_of = replace(open_version(), version=1)
    with pytest.raises(AirflowFailException, match="no version 1"):
        abort(unheard_of)
    compute(unheard_of, {}, {})
    with pytest.raises(AirflowFailException, match="no version 1"):
        prepare(unheard_of)


def test_tasks_access_the_registry_in_one_way():
    for file in Path(operators.__file__).parent.glob("*.py"):
        assert file.name == "base.py" or "cloud.registry" not in file.read_text(), file


def test_a_task_fails_where_no_version_was_opened(task):
    with pytest.raises(AirflowFailException, match="open_version has not opened a version"):
        task(CleanUp, None).execute({})


def test_airflow_2_is_told_of_every_link_of_ours():
    classes = [found for found in vars(operators).values() if isinstance(found, type)]
    links = {type(link) for operator in classes for link in operator.operator_extra_links}
    ours = {link for link in links if link.__module__.startswith("foreserve.")}
    assert ours == {type(link) for link in ForeservePlugin.operator_extra_links}


def test_aborting_before_a_version_was_opened_does_nothing(task):
    task(AbortVersion, None, dataflow_jobs=[], region="").execute({})


def test_a_roll_back_goes_to_the_version_before_and_back_no_further_when_retried(cloud, context, promoted, registry):
    first, _, third = promoted(), promoted(), promoted()
    second = registry.get(first.model).rollback_targets()[0]
    choose = ChooseVersion(task_id="choose", cloud=cloud, model=first.model, version="")
    assert choose.execute(context()) == second
    for _ in range(2):
        SwitchVersion(task_id="roll_back", cloud=cloud, model=first.model, version=second).execute(
            context(reason="odd")
        )
        assert registry.get(first.model).active == second < third.version
    rollback = registry.get(first.model).versions[third.version].details["rollback"]
    assert (rollback["to"], rollback["by"], rollback["why"]) == (second, "Ann", "odd")
    assert choose.execute(context()) == first.version


def test_readers_go_forward_again_after_a_rollback_by_mistake(cloud, context, promoted, registry):
    first, second = promoted(), promoted()

    def switch(to, **params):
        SwitchVersion(task_id="roll_back", cloud=cloud, model=first.model, version=to).execute(context(**params))

    switch(first.version, reason="a mistake")
    with pytest.raises(AirflowFailException, match=f"no earlier version .*; name {second.version} to go forward"):
        ChooseVersion(task_id="choose", cloud=cloud, model=first.model, version="").execute(context())
    switch(second.version, reason="on second thoughts")
    state = registry.get(first.model)
    assert state.active == second.version
    promotion = state.versions[second.version].details["promotion"]
    assert (promotion["previous"], promotion["why"]) == (first.version, "on second thoughts")


def test_a_version_that_was_previewed_is_promoted_as_it_is(
    cloud, compute, context, open_version, prepare, promote, promoted, registry
):
    first, second = promoted(), open_version()
    compute(second, {"a": "2"}, {"a": "2"})
    prepare(second)
    registry.update(second.model, lambda state: state.complete_export(second.version, Receipt(1, 0)))
    with pytest.raises(AirflowSkipException, match=r"is ready; the DAG roll_back"):
        promote(second, promote=False)
    state = registry.get(second.model)
    ended = state.versions[second.version].details["ended"]
    assert (ended["reason"], ended["task"]) == ("promote is off in the trigger form", "promote")
    assert (state.active, state.versions[second.version].status) == (first.version, Status.READY)
    SwitchVersion(task_id="roll_back", cloud=cloud, model=second.model, version=second.version).execute(context())
    state = registry.get(second.model)
    assert (state.active, state.versions[second.version].status) == (second.version, Status.PROMOTED)
    assert state.versions[second.version].details["promotion"]["by"] == "Ann"
    assert state.run_lease_holder(second.version) is None
    with pytest.raises(AirflowSkipException, match=r"is promoted$"):
        promote(second, promote=False)  # the task was cleared


def test_a_version_that_cannot_be_promoted_after_a_rollback_is_not_called_ready(
    compute, open_version, prepare, promote, promoted, registry
):
    first, _, third = promoted(), promoted(), open_version()
    compute(third, {"a": "3"}, {"a": "3"})
    prepare(third)
    registry.update(third.model, lambda state: state.complete_export(third.version, Receipt(1, 0)))
    registry.update(third.model, lambda state: state.roll_back(first.version, reason="odd", now=1))
    with pytest.raises(AirflowSkipException, match=r"is exporting$"):
        promote(third, promote=False)


def test_promote_cleared_after_a_rollback_says_what_happened_and_what_to_do(context, promoted, promote, registry):
    first, second = promoted(), promoted()
    registry.update(first.model, lambda state: state.switch(first.version, reason="odd", now=1))
    with pytest.raises(AirflowFailException, match=r"promoted; readers left it at .*: odd; the DAG roll_back"):
        promote(second)


def test_what_cannot_be_rolled_back_to_is_refused(cloud, context, promoted):
    refresh = promoted()
    choose = ChooseVersion(task_id="choose", cloud=cloud, model=refresh.model, version="")
    with pytest.raises(AirflowFailException, match="no earlier version"):
        choose.execute(context())
    misspelt = context() | {"dag_run": DagRun(conf={"versoin": "3"})}
    with pytest.raises(AirflowFailException, match="versoin: no such field"):
        choose.execute(misspelt)
    with pytest.raises(AirflowFailException, match="possible: none"):
        SwitchVersion(task_id="roll_back", cloud=cloud, model=refresh.model, version=3).execute(context())
    with pytest.raises(AirflowFailException, match="does not have this model"):
        SwitchVersion(task_id="roll_back", cloud=cloud, model="unheard_of", version=3).execute(context())


def test_cleaning_up_keeps_what_can_be_served(promoted, task, warehouse):
    refreshes = [promoted(keep_versions=2) for _ in range(5)]
    of_the_team = {f"{refreshes[0].model}{suffix}" for suffix in ("_mine", "_predictions_20261101", "_changes_1")}
    for table in of_the_team:
        warehouse.query_and_wait(f"CREATE TABLE `{refreshes[0].dataset}.{table}` AS SELECT 1 AS x")
    for refresh in refreshes:
        warehouse.query_and_wait(
            f"CREATE MODEL `{refresh.candidate_model}` OPTIONS (model_type = 'LINEAR_REG') AS "
            "SELECT x, 2.0 * x AS label FROM UNNEST([1.0, 2.0, 3.0]) AS x"
        )
    task(CleanUp, refreshes[-1]).execute({})
    model = refreshes[0].model
    tables = {table.table_id for table in warehouse.list_tables(refreshes[0].dataset) if model in table.table_id}
    models = {found.model_id for found in warehouse.list_models(refreshes[0].dataset) if model in found.model_id}
    kept = refreshes[-3:]  # the active version, and those that could be rolled back to when it was exported
    assert models == {name(refresh.candidate_model) for refresh in kept}
    predictions = {table for table in tables if "_predictions_" in table}
    assert predictions - of_the_team == {name(refresh.predictions_table) for refresh in kept}
    assert of_the_team <= tables


def name(full_name):
    return full_name.split(".")[-1]


def test_a_refresh_is_what_the_tasks_pass_on(open_version):
    refresh = open_version()
    assert Refresh.from_xcom(refresh.to_xcom()) == refresh


def test_composers_names_stand_in_for_an_address_of_airflow_that_is_not_configured(monkeypatch):
    """Runs of two environments without an address would have the same one, and one's runs would count as ended."""
    monkeypatch.setattr(airflow_compat.conf, "get", lambda *_, **__: "")
    monkeypatch.setenv("COMPOSER_LOCATION", "europe-west1")
    addresses = set()
    for environment in ("first", "second"):
        monkeypatch.setenv("COMPOSER_ENVIRONMENT", environment)
        addresses.add(airflow_compat._runs_url("refresh_churn"))
    assert len(addresses) == 2


@pytest.fixture
def decide(cloud, context):
    """Makes a decision about a version, as the page in Airflow triggers it."""

    def run_decision(decision, state, version, reason="it is stuck"):
        shown_then = json.dumps(decisions.shown(state, version))
        operator = DecideVersion(
            task_id="decide",
            cloud=cloud,
            decision=decision,
            model=state.model,
            version=str(version),
            shown=shown_then,
        )
        operator.execute(context(reason=reason))

    return run_decision


def test_a_person_aborts_a_stuck_version(open_version, registry, decide):
    refresh = open_version()
    decide("abort", registry.get(refresh.model), refresh.version)
    record = registry.get(refresh.model).versions[refresh.version]
    assert (record.status, record.details["ended"]["by"]) == (Status.ABORTED, "Ann")


def test_a_person_releases_a_lost_run(open_version, registry, decide):
    refresh = open_version()
    decide("release", registry.get(refresh.model), refresh.version)
    assert registry.get(refresh.model).run_lease_holder(0) is None
    assert registry.get(refresh.model).versions[refresh.version].details["released"]["why"] == "it is stuck"


@pytest.mark.parametrize("decision", ["abort", "release"])
def test_a_decision_about_what_has_changed_since_changes_nothing(open_version, registry, decide, decision):
    refresh = open_version()
    shown_then = registry.get(refresh.model)
    registry.update(refresh.model, lambda state: state.begin_export(refresh.version))
    before = registry.get(refresh.model)
    with pytest.raises(AirflowFailException, match=f"lost a race: meanwhile version {refresh.version} is exporting"):
        decide(decision, shown_then, refresh.version)
    assert registry.get(refresh.model) == before


def test_a_decision_needs_a_reason(open_version, registry, decide):
    refresh = open_version()
    with pytest.raises(AirflowFailException, match="the reason is empty"):
        decide("abort", registry.get(refresh.model), refresh.version, reason=" ")


def test_a_rollback_of_what_has_changed_since_changes_nothing(promoted, registry, cloud, context):
    first, second = promoted(), promoted()
    shown_then = json.dumps(decisions.shown(registry.get(first.model), first.version))
    third = promoted()
    switch = SwitchVersion(task_id="roll_back", cloud=cloud, model=first.model, version=first.version, shown=shown_then)
    with pytest.raises(
        AirflowFailException, match=f"meanwhile version {third.version} is active instead of {second.version}"
    ):
        switch.execute(context(reason="too late"))
    assert registry.get(first.model).active == third.version
