import json

import pytest

from prediction_store.lifecycle import Status, now_ms
from prediction_store.local_environment import STATE_FILE
from tests.foreserve_cli.conftest import DATASET
from tests.servers import INSTANCE

OLD = {"a": b'{"p":1}', "b": b'{"p":2}', "c": b'{"p":3}'}
CHANGES = {"b": b'{"p":9}', "c": None, "d": b'{"p":4}'}
NEW = {"a": b'{"p":1}', "b": b'{"p":9}', "d": b'{"p":4}'}
SURE = ("--yes", "--reason", "tried it")


@pytest.fixture
def model(store):
    return store.model()


@pytest.fixture
def two(model, versions):
    """A model with two promoted versions."""
    return model, versions.refresh(model, OLD), versions.refresh(model, CHANGES, NEW)


def test_models_are_listed(run, two):
    model, _, second = two
    line = next(line for line in run("list").output.splitlines() if f" {model} " in line)
    assert str(second) in line
    (listed,) = [each for each in run("list", "--json").json() if each["model"] == model]
    assert listed["active_version"] == second


def test_the_versions_of_a_model_are_shown_with_their_endings(run, two, versions):
    model, first, second = two
    run("roll-back", model, *SURE)
    said = run("show", model).output
    assert "tried it" in next(line for line in said.splitlines() if str(second) in line)
    assert "active" in next(line for line in said.splitlines() if str(first) in line)
    assert run("show", model, second).json()["details"]["rollback"]["why"] == "tried it"


def test_texts_with_square_brackets_are_shown_as_they_are(run, model, versions):
    first = versions.refresh(model, {"[/a]": b'{"p":"[gold]"}'})
    second = versions.refresh(model, {"[/a]": b'{"p":"[silver]"}'})
    compared = run("diff", model, first, second, "--entity", "[/a]").output
    assert all(text in compared for text in (f"{model} of [/a]", '"[gold]"', '"[silver]"'))
    run("roll-back", model, "--yes", "--reason", "[wrong] prices, see [/runbook] :100:")
    assert "[wrong] prices, see [/runbook] :100:" in run("show", model).output


def test_live_metrics_are_shown_beside_the_held_out_ones(run, two, store):
    model, first, _ = two
    live = {
        "at": "2026-11-23T05:00:00+00:00",
        "outcomes": 1200,
        "metrics": {"roc_auc": 0.71234},
        "held_out": {"roc_auc": 0.8},
        "calibration": [{"predicted": 0.05, "observed": 0.1, "outcomes": 1200}],
        "breaches": ["roc_auc is 0.7123, below the minimum 0.75"],
    }
    store.registry.update(model, lambda state: state.note(first, live=live))
    said = run("show", model).output
    assert f"Live metrics of {first}, 1,200 outcomes until {live['at']}: roc_auc 0.7123 (held out 0.8)." in said
    assert "predicted → observed: 0.05 → 0.1." in said
    assert "Breach: roc_auc is 0.7123, below the minimum 0.75." in said


def test_two_versions_are_compared_with_one_entitys_predictions(run, two):
    model, first, second = two
    compared = run("diff", model, first, second, "--entity", "b", "--json").json()
    assert [compared[key] for key in ("same", "changed", "only_first", "only_second")] == [1, 1, 1, 1]
    assert compared["predictions"] == {str(first): {"p": 2}, str(second): {"p": 9}}
    assert '"p": 9' in run("diff", model, first, second, "--entity", "b").output


def test_a_version_whose_table_is_gone_cannot_be_compared(run, two, warehouse):
    model, first, second = two
    warehouse.delete_table(f"{DATASET}.{model}_predictions_{first}")
    said = run("diff", model, first, second)
    assert said.code == 1
    assert "BigQuery keeps the tables of the active version" in said.notes


@pytest.mark.parametrize("scope", [("--all",), ("--sample", "2")])
def test_bigtable_agrees_with_bigquery(run, two, scope):
    model, *_ = two
    said = run("verify", model, *scope, "--json")
    assert (said.code, said.json()["right"]) == (0, True)
    assert said.json()["compared"] == (3 if scope == ("--all",) else 2)


def test_each_kind_of_difference_is_found(run, two, store):
    model, _, second = two
    store.write(model, second, {"a": b'{"p":7}', "b": None, "x": b'{"p":8}'})
    said = run("verify", model, "--all", "--json")
    assert said.code == 1
    found = said.json()
    assert (found["missing"], found["different"], found["extra"]) == (1, 1, 1)
    assert set(found["examples"]) == {"a", "b"}


def test_a_previewed_version_is_promoted_with_who_and_why(run, model, versions, store):
    versions.refresh(model, OLD)
    version = versions.export(model, CHANGES, NEW)
    said = run("promote", model, answers=["looks good", "y"])
    assert said.code == 0, said.notes
    assert f"Readers get version {version} instead of" in said.notes
    promotion = store.registry.get(model).versions[version].details["promotion"]
    assert promotion["why"] == "looks good"
    assert "@" in promotion["by"]
    assert store.registry.get(model).active == version


def test_nothing_is_done_without_consent_or_a_reason(run, model, versions, store):
    before = versions.refresh(model, OLD)
    versions.export(model, CHANGES, NEW)
    assert run("promote", model, answers=["looks good", "n"]).code == 1
    assert run("promote", model, answers=[" ", "y"]).code == 2
    assert run("promote", model, "--yes").code == 2
    assert store.registry.get(model).active == before


def test_an_incomplete_version_is_not_promoted(run, model, versions, warehouse):
    version = versions.export(model, OLD)
    warehouse.query_and_wait(f"INSERT INTO `{DATASET}.{model}_changes_{version}` VALUES ('z', 'x')")
    said = run("promote", model, *SURE)
    assert said.code == 1
    assert "is not complete" in said.notes


def test_an_aborted_version_is_not_promoted(run, model, versions):
    version = versions.export(model, OLD)
    run("abort", model, *SURE)
    said = run("promote", model, version, *SURE)
    assert (said.code, "was aborted (tried it)" in said.notes) == (1, True)


def test_a_version_whose_run_goes_on_is_left_to_the_run(run, model, store):
    store.registry.update(model, lambda state: state.open(now_ms(), "http://airflow/run"))
    said = run("promote", model, *SURE)
    assert (said.code, "http://airflow/run, which promotes it itself" in said.notes) == (1, True)


def test_readers_go_back(run, two, store):
    model, first, second = two
    said = run("roll-back", model, *SURE)
    assert said.code == 0, said.notes
    assert "1 predictions change back, 1 vanish, 1 come back, 1 stay" in said.notes
    state = store.registry.get(model)
    assert state.active == first
    assert state.versions[second].details["ended"]["reason"] == "tried it"
    for words in ((model,), (model, second)):
        said = run("roll-back", *words, *SURE)
        assert (said.code, f"to go forward, run foreserve promote {model} {second}" in said.notes) == (1, True)


def test_readers_go_forward_again_until_a_newer_version_is_opened(run, two, store):
    model, first, second = two
    run("roll-back", model, *SURE)
    said = run("promote", model, second, *SURE)
    assert said.code == 0, said.notes
    state = store.registry.get(model)
    assert (state.active, state.versions[second].details["promotion"]["previous"]) == (second, first)
    run("roll-back", model, *SURE)
    store.registry.update(model, lambda state: state.open(now_ms()))
    said = run("promote", model, second, *SURE)
    assert (said.code, "was opened after it" in said.notes) == (1, True)


def test_a_lost_race_changes_nothing_and_says_so(run, two, store, monkeypatch):
    model, _first, second = two

    def overtaken(*_, **__):
        opened = store.registry.update(model, lambda state: state.open(now_ms()))
        overtaken.version = opened.latest
        return "y"

    monkeypatch.setattr("typer.confirm", overtaken)
    said = run("roll-back", model, "--reason", "tried it")
    assert said.code == 3
    assert f"lost a race: meanwhile version {overtaken.version} was opened" in said.notes
    assert store.registry.get(model).active == second


def test_a_stuck_version_is_aborted_and_its_run_may_not_hold_others(run, model, store):
    store.registry.update(model, lambda state: state.open(now_ms(), "http://airflow/run"))
    assert "mark it as failed in Airflow" in run("abort", model, *SURE).notes
    state = store.registry.get(model)
    record = state.versions[state.latest]
    assert record.status is Status.ABORTED
    assert record.details["ended"]["reason"] == "tried it"
    assert "@" in record.details["ended"]["by"]
    assert run("abort", model, *SURE).code == 1


def test_the_lease_of_a_lost_run_is_released(run, model, store):
    store.registry.update(model, lambda state: state.open(now_ms(), "http://airflow/run"))
    assert run("release", model, *SURE).code == 0
    assert store.registry.get(model).run_lease_holder(now_ms()) is None
    assert run("release", model, *SURE).code == 1


def test_an_active_version_is_explained(run, two):
    model, first, _second = two
    said = run("explain", model).output
    assert "is active" in said
    assert f"Back to {first}: foreserve roll-back {model}" in said


def test_a_refused_version_is_explained_with_task_and_reason(run, model, versions, store):
    versions.refresh(model, OLD)
    version = versions.export(model, CHANGES, NEW)
    store.registry.update(
        model, lambda s: s.abort(version, s.active, reason="p99 is 900 ms", now=now_ms(), task="smoke_test")
    )
    said = run("explain", model).output
    assert "aborted by smoke_test: p99 is 900 ms" in said
    assert "Its cells are stale" in said
    assert "a refresh makes a new version" in said


def test_a_rolled_back_version_is_explained(run, two):
    model, _first, second = two
    run("roll-back", model, *SURE)
    said = run("explain", model, second, "--json").json()
    assert any(line.startswith("It was rolled back by ") and "tried it" in line for line in said["explanation"])
    again = f"Until the next refresh begins, it can be active again: foreserve promote {model} {second}"
    assert said["explanation"][-1] == again


def test_a_version_that_waits_is_not_called_stale(run, model, versions):
    versions.refresh(model, OLD)
    version = versions.export(model, CHANGES, NEW)
    said = run("explain", model).output
    assert "stale" not in said
    assert f"foreserve promote {model} {version}" in said


def test_an_unknown_version_or_model_is_named(run, two):
    model, first, second = two
    said = run("explain", model, 17)
    assert (said.code, f"no version 17; the registry has: {second}, {first}" in said.notes) == (1, True)
    assert "does not have this model" in run("show", "nothing").notes


def test_a_retired_model_is_gone_with_all_that_is_ours(run, two, store, warehouse):
    model, *_ = two
    stranger = f"{DATASET}.{model}_predictions_17"
    warehouse.query_and_wait(f"CREATE TABLE `{stranger}` AS SELECT 1 AS x")
    said = run("retire", model, answers=["no longer needed", "y", model])
    assert said.code == 0, said.notes
    assert "no longer needed" in said.output
    assert f"{stranger} stays" in said.notes
    assert store.registry.find(model) is None
    left = {table.table_id for table in warehouse.list_tables(DATASET) if table.table_id.startswith(f"{model}_")}
    assert left == {f"{model}_predictions_17"}
    assert store.registry.find(model) is None
    assert run("show", model).code == 1


def test_a_family_that_terraform_owns_stays(run, two, store):
    model, *_ = two
    said = run("retire", model, *SURE, "--confirm", model, "--no-drop-family")
    assert (said.code, "run terraform apply" in said.notes) == (0, True)
    assert "column family" not in said.output


def test_a_retirement_needs_the_name_twice(run, two, store):
    model, _, second = two
    assert run("retire", model, *SURE, "--confirm", "other").code == 1
    assert run("retire", model, *SURE, answers=["other"]).code == 1
    assert store.registry.get(model).active == second


def test_a_model_whose_refresh_runs_is_not_retired(run, model, store):
    store.registry.update(model, lambda state: state.open(now_ms(), "http://airflow/run"))
    said = run("retire", model, *SURE, "--confirm", model)
    assert (said.code, "is being made by http://airflow/run" in said.notes) == (1, True)


def test_a_retirement_that_was_interrupted_is_finished_by_the_next(run, two, store, monkeypatch):
    model, *_ = two
    with monkeypatch.context() as patch:
        patch.setattr("google.cloud.bigquery.Client.delete_table", _fail)
        assert run("retire", model, *SURE, "--confirm", model).code == 1
    assert store.registry.get(model).active is None
    assert run("retire", model, *SURE, "--confirm", model).code == 0
    assert store.registry.find(model) is None


def _fail(*_, **__):
    raise OSError("the network is gone")


def test_a_running_local_stack_is_found_from_a_folder_in_it(run, two, tmp_path, monkeypatch, store):
    model, *_ = two
    state = tmp_path / STATE_FILE
    state.parent.mkdir()
    names = ("BIGTABLE_EMULATOR_HOST", "FORESERVE_PROJECT", "FORESERVE_BIGTABLE_INSTANCE")
    values = (store.address, INSTANCE.project, INSTANCE.instance)
    state.write_text(json.dumps({"environment": dict(zip(names, values, strict=True))}))
    for name in names:
        monkeypatch.delenv(name)
    (tmp_path / "dags").mkdir()
    monkeypatch.chdir(tmp_path / "dags")
    assert model in run("list").output


def test_without_a_stack_or_settings_the_way_out_is_named(run, tmp_path, monkeypatch):
    monkeypatch.delenv("FORESERVE_PROJECT")
    monkeypatch.chdir(tmp_path)
    said = run("list")
    assert (said.code, "make up starts one" in said.notes) == (1, True)
