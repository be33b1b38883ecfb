"""The operators, called as Airflow calls them, on a real BigQuery and a real Bigtable."""

from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

import pytest
from airflow.models import DagRun
from airflow.sdk.exceptions import AirflowFailException

from foreserve.gate import QualityGate
from foreserve.operators import (
    AbandonVersion,
    CheckQuality,
    ChooseRollback,
    CleanUp,
    PrepareExport,
    Promote,
    RollBack,
    WaitForReplication,
    require_unexported,
)
from foreserve.operators.versions import data_cutoff
from foreserve.refresh import Refresh
from prediction_store.lifecycle import Receipt, Status


@pytest.fixture
def compute(warehouse):
    """Fills the tables of a refresh: its predictions, and the changes against what is served."""

    def compute(refresh, predictions, changes):
        for table, rows in ((refresh.predictions_table, predictions), (refresh.changes_table, changes)):
            values = ", ".join(f"('{entity}', {payload!r})" for entity, payload in rows.items()).replace("None", "NULL")
            warehouse.query_and_wait(f"CREATE OR REPLACE TABLE `{table}` (entity_id STRING, payload STRING)")
            if rows:
                warehouse.query_and_wait(f"INSERT INTO `{table}` VALUES {values}")

    return compute


@pytest.fixture
def prepare(task):
    def prepare(refresh, model="m"):
        operator = task(PrepareExport, refresh, model=model, purge_task_id="purge", export_task_id="export")
        return operator.choose_branch({})

    return prepare


@pytest.fixture
def promoted(open_version, compute, prepare, registry, task):
    """A whole refresh, but for the writing of cells."""

    def promoted(**settings):
        refresh = open_version(**settings)
        compute(refresh, {"a": "1"}, {"a": "1"})
        prepare(refresh, refresh.candidate_model)
        registry.update(refresh.model, lambda state: state.purged(refresh.version, above=state.active or 0))
        registry.update(refresh.model, lambda state: state.complete_export(refresh.version, Receipt(1, 0)))
        task(Promote, refresh).execute({})
        registry.update(refresh.model, lambda state: state.confirm(refresh.version))
        return refresh

    return promoted


def test_a_first_version_has_nothing_to_compare_with(open_version, registry):
    refresh = open_version()
    assert (refresh.active, refresh.champion_model, refresh.active_predictions_table) == (None, None, None)
    assert registry.get(refresh.model).latest == refresh.version


DUE = datetime(2026, 11, 23, 5, tzinfo=UTC)
EARLIER = DUE - timedelta(weeks=1)


@pytest.mark.parametrize(
    "run",
    [
        DagRun(run_type="manual", logical_date=None, run_after=DUE),
        DagRun(run_type="manual", logical_date=DUE, run_after=DUE + timedelta(days=9)),
        DagRun(run_type="scheduled", logical_date=EARLIER, run_after=DUE, data_interval=(EARLIER, DUE)),
        SimpleNamespace(run_type="scheduled", logical_date=EARLIER, data_interval_end=DUE),  # as in Airflow 2
    ],
)
def test_data_count_up_to_the_logical_date_or_when_the_run_was_due(run):
    assert data_cutoff(run) == DUE


def test_without_a_champion_there_is_nothing_to_reuse_and_no_version_is_opened(open_version, registry):
    with pytest.raises(AirflowFailException, match="no served version whose model could be reused"):
        open_version(retrain=False)
    assert all(state.latest == 0 for state in registry.models() if state.versions == {})


def test_a_later_version_knows_what_is_served(open_version, promoted):
    first = promoted()
    second = open_version(retrain=False)
    assert second.active == first.version < second.version
    assert second.champion_model == first.candidate_model
    assert second.active_predictions_table == first.predictions_table


GATE = {"metrics": {"roc_auc": {"minimum": 0.7, "max_drop": 0.05}}}


@pytest.fixture
def judge(task, warehouse):
    """The model that the gate chooses, given the metrics of the candidate and of the champion."""

    def judge(refresh, candidate, champion=None, **gate):
        rows = [f"SELECT 'candidate' AS role, {candidate} AS roc_auc"]
        rows += [] if champion is None else [f"SELECT 'champion', {champion}"]
        warehouse.query_and_wait(f"CREATE TABLE `{refresh.evaluation_table}` AS {' UNION ALL '.join(rows)}")
        return task(CheckQuality, refresh, gate=QualityGate.model_validate(GATE | gate)).execute({})

    return judge


def test_a_good_candidate_takes_over_and_the_decision_is_recorded(judge, open_version, registry):
    refresh = open_version()
    assert judge(refresh, 0.8, 0.84) == refresh.candidate_model
    details = registry.get(refresh.model).versions[refresh.version].details
    assert details["metrics"] == {"candidate": {"roc_auc": 0.8}, "champion": {"roc_auc": 0.84}}
    assert details["gate"]["accepted"] is True


def test_a_closed_gate_keeps_the_champion(judge, open_version, promoted, registry):
    champion = promoted().candidate_model
    refresh = open_version()
    assert judge(refresh, 0.78, 0.84) == champion
    gate = registry.get(refresh.model).versions[refresh.version].details["gate"]
    assert gate["accepted"] is False
    assert gate["reasons"] == ["roc_auc is 0.7800, more than 0.05 below 0.8400"]


def test_a_closed_gate_stops_where_that_is_wanted(judge, open_version, promoted):
    promoted()
    with pytest.raises(AirflowFailException, match=r"the quality gate is closed: roc_auc is 0\.6"):
        judge(open_version(), 0.6, when_closed="stop")


def test_a_closed_gate_stops_when_there_is_no_champion(judge, open_version):
    with pytest.raises(AirflowFailException, match=r"closed: roc_auc is 0\.6000, below the minimum 0\.7"):
        judge(open_version(), 0.6)


def test_an_export_is_announced_with_its_numbers(compute, open_version, prepare, registry):
    refresh = open_version()
    compute(refresh, {"a": "1", "b": "2", "c": "3"}, {"a": "1", "z": None})
    assert prepare(refresh) == "export"
    record = registry.get(refresh.model).versions[refresh.version]
    assert record.status is Status.EXPORTING
    assert record.details["counts"] == {"predictions": 3, "written": 1, "tombstones": 1, "unchanged": 2}
    assert record.details["model"] == "m"


def test_stale_cells_are_purged_before_an_export(compute, open_version, prepare, registry):
    first = open_version()
    compute(first, {"a": "1"}, {"a": "1"})
    prepare(first)
    registry.update(first.model, lambda state: state.abandon(first.version, None))
    second = open_version()
    compute(second, {"a": "1"}, {"a": "1"})
    assert prepare(second) == "purge"


def test_without_a_decision_the_champion_predicts(compute, open_version, prepare, promoted, registry):
    champion = promoted().candidate_model
    refresh = open_version(retrain=False)
    compute(refresh, {"a": "1"}, {})
    prepare(refresh, model="")
    assert registry.get(refresh.model).versions[refresh.version].details["model"] == champion


def test_what_was_exported_is_not_computed_again(cloud, compute, open_version, prepare):
    class TaskInstance:
        def xcom_pull(self, task_ids):
            assert task_ids == "open_version"
            return refresh.to_xcom()

    refresh = open_version()
    check = require_unexported(cloud, "open_version")
    check({"ti": TaskInstance()})
    compute(refresh, {"a": "1"}, {"a": "1"})
    prepare(refresh)
    with pytest.raises(AirflowFailException, match="its export has begun; start a new refresh"):
        check({"ti": TaskInstance()})


def test_an_export_that_is_short_of_a_row_is_not_promoted(compute, open_version, prepare, registry, task):
    refresh = open_version()
    compute(refresh, {"a": "1", "b": "2"}, {"a": "1", "b": "2"})
    prepare(refresh)
    registry.update(refresh.model, lambda state: state.complete_export(refresh.version, Receipt(1, 0)))
    with pytest.raises(AirflowFailException, match=r"BigQuery has 2 predictions .* the export wrote 1"):
        task(Promote, refresh).execute({})
    assert registry.get(refresh.model).active is None


def test_replication_is_awaited(open_version, task):
    task(WaitForReplication, open_version(), entity_type="customer", poll_seconds=0.1).execute({})


def test_abandoning_leaves_readers_where_they_were(open_version, promoted, registry, task):
    first = promoted()
    second = open_version()
    task(AbandonVersion, second).execute({})
    state = registry.get(second.model)
    assert (state.active, state.versions[second.version].status) == (first.version, Status.ABORTED)


def test_abandoning_before_a_version_was_opened_does_nothing(cloud):
    AbandonVersion(task_id="abandon", cloud=cloud, refresh="null").execute({})


def test_a_roll_back_goes_to_the_version_before_and_back_no_further_when_retried(cloud, promoted, registry):
    first, _, third = promoted(), promoted(), promoted()
    second = registry.get(first.model).rollback_targets()[0]
    choose = ChooseRollback(task_id="choose", cloud=cloud, model=first.model, version="")
    assert choose.execute({}) == second
    for _ in range(2):
        RollBack(task_id="roll_back", cloud=cloud, model=first.model, version=second).execute({})
        assert registry.get(first.model).active == second < third.version
    assert choose.execute({}) == first.version


def test_what_cannot_be_rolled_back_to_is_refused(cloud, promoted):
    refresh = promoted()
    choose = ChooseRollback(task_id="choose", cloud=cloud, model=refresh.model, version="")
    with pytest.raises(AirflowFailException, match="no earlier version"):
        choose.execute({})
    with pytest.raises(AirflowFailException, match="possible: none"):
        RollBack(task_id="roll_back", cloud=cloud, model=refresh.model, version=3).execute({})
    with pytest.raises(AirflowFailException, match="does not have this model"):
        RollBack(task_id="roll_back", cloud=cloud, model="unheard_of", version=3).execute({})


def test_cleaning_up_keeps_what_can_be_served(promoted, task, warehouse):
    refreshes = [promoted(keep_versions=2) for _ in range(5)]
    warehouse.query_and_wait(f"CREATE TABLE `{refreshes[0].dataset}.{refreshes[0].model}_mine` AS SELECT 1 AS x")
    for refresh in refreshes:
        warehouse.query_and_wait(
            f"CREATE MODEL `{refresh.candidate_model}` OPTIONS (model_type = 'LINEAR_REG') AS "
            "SELECT x, 2.0 * x AS label FROM UNNEST([1.0, 2.0, 3.0]) AS x"
        )
    task(CleanUp, refreshes[-1]).execute({})
    model = refreshes[0].model
    tables = {table.table_id for table in warehouse.list_tables(refreshes[0].dataset) if model in table.table_id}
    models = {found.model_id for found in warehouse.list_models(refreshes[0].dataset) if model in found.model_id}
    kept = refreshes[-3:]  # the active one, and those that were kept for a rollback when it was exported
    assert models == {name(refresh.candidate_model) for refresh in kept}
    assert {table for table in tables if "_predictions_" in table} == {name(r.predictions_table) for r in kept}
    assert f"{model}_mine" in tables


def name(full_name):
    return full_name.split(".")[-1]


def test_a_refresh_is_what_the_tasks_pass_on(open_version):
    refresh = open_version()
    assert Refresh.from_xcom(refresh.to_xcom()) == refresh
