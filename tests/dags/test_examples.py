"""The project's pipelines, and a new one from the template, on the sample data and the local BigQuery."""

import json
import statistics
from functools import cache
from itertools import count, pairwise
from typing import Any, NamedTuple

import pytest

from foreserve.operators.bigquery import prediction_fields
from foreserve.refresh import Refresh
from local_stack import sample_data
from refresh_factory.new import new_pipeline
from refresh_factory.pipeline import PIPELINES, SQL_FILES, load_pipeline
from refresh_factory.statements import SqlFiles, Statements

NOW = "2026-11-23T05:00:00+00:00"
EXAMPLES = ("repeat_purchase", "expected_spend", "customer_segment", "from_template")  # of the shop's customers
ENTITIES = {**dict.fromkeys(EXAMPLES, "shop.customers"), "next_products": "grocery.households"}
FEATURES = ["frequency", "log_spend", "recency_weeks", "tenure_weeks"]


class Refreshed(NamedTuple):
    """The breaches of the gates, the number of entities without a prediction, and the predictions of some."""

    breaches: list[str]
    missing: int
    predictions: dict[str, Any]


@pytest.fixture(scope="module")
def warehouse(bigquery):
    client = sample_data.warehouse()
    sample_data.first_purchases(client)
    sample_data.load_groceries(client)
    client.query_and_wait(
        "CREATE OR REPLACE TABLE grocery.households AS "
        "SELECT DISTINCT household_id AS entity_id FROM grocery.purchases WHERE month < '2017-12-01'"
    )
    client.query_and_wait(
        "CREATE OR REPLACE TABLE shop.customers AS "
        "SELECT customer_id AS entity_id, SUM(amount_usd) AS spent FROM shop.transactions GROUP BY customer_id"
    )
    return client


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    made = new_pipeline("from_template", tmp_path_factory.mktemp("pipelines"))
    return {name: PIPELINES / name for name in ENTITIES} | {made.name: made}


@pytest.fixture(scope="module")
def refreshed(warehouse, folders):
    """Runs the SQL of a refresh, once for each set of arguments."""
    versions = count(1)

    def run_refresh(name, cutoff=NOW, attempt=1):
        pipeline = load_pipeline(folders[name])
        statements = Statements(folders[name], pipeline, "demo")
        refresh = Refresh(name, next(versions), "demo.foreserve", cutoff=cutoff)
        for sql in (
            statements.train(refresh),
            statements.evaluate(refresh, compare=True),
            statements.predict(refresh, refresh.candidate_model),
        ):
            warehouse.query_and_wait(sql)
        warehouse.query_and_wait(statements.measure(refresh, prediction_fields(warehouse, refresh)))
        (row,) = warehouse.query_and_wait(f"SELECT metrics FROM `{refresh.metrics_table}`")
        table = f"`{refresh.predictions_table}`"
        (missing,) = warehouse.query_and_wait(
            f"SELECT COUNTIF(payload IS NULL) FROM {ENTITIES[name]} LEFT JOIN {table} USING (entity_id)"
        )
        rows = warehouse.query_and_wait(f"SELECT * FROM {table} WHERE entity_id < '01000'")
        predictions = {row.entity_id: json.loads(row.payload) for row in rows}
        measures = dict(next(iter(warehouse.query_and_wait(f"SELECT * FROM `{refresh.measures_table}`"))).items())
        judgements = pipeline.quality_gate.judge(json.loads(row.metrics), None)
        judgements += pipeline.prediction_gate.judge(measures)
        breaches = [judgement.text for judgement in judgements if not judgement.holds]
        return Refreshed(breaches, missing[0], predictions)

    return cache(run_refresh)


@pytest.mark.parametrize("name", ENTITIES)
def test_every_entity_gets_a_prediction_of_a_model_that_passes_its_gates(refreshed, name):
    assert refreshed(name).breaches == []
    assert refreshed(name).missing == 0


def test_what_explains_the_spend_adds_up_to_it(refreshed):
    for prediction in refreshed("expected_spend").predictions.values():
        because = prediction["because"]
        assert sorted(reason["feature"] for reason in because) == FEATURES
        assert [abs(reason["adds_usd"]) for reason in because] == sorted(
            (abs(reason["adds_usd"]) for reason in because), reverse=True
        )
        explained = prediction["baseline_usd"] + sum(reason["adds_usd"] for reason in because)
        assert prediction["spend_usd"] == pytest.approx(explained, abs=0.031)  # six numbers, rounded to cents
        assert prediction["spend_usd"] > 0


def test_segments_are_named_in_the_order_of_what_their_customers_spent(refreshed, warehouse):
    spent = {
        row.entity_id: row.spent
        for row in warehouse.query_and_wait("SELECT * FROM shop.customers WHERE entity_id < '01000'")
    }
    segments = {}
    for customer, prediction in refreshed("customer_segment").predictions.items():
        segments.setdefault((prediction["spend_rank"], prediction["segment"]), []).append(spent[customer])
    assert sorted(segments) == [(1, "top"), (2, "high"), (3, "medium"), (4, "low")]
    typical = [statistics.geometric_mean(1 + usd for usd in segments[key]) for key in sorted(segments)]
    assert typical == sorted(typical, reverse=True)


def test_a_household_gets_ten_products_that_fit_its_purchases(refreshed, warehouse):
    bought = {}
    for row in warehouse.query_and_wait("SELECT * FROM grocery.purchases WHERE household_id < '01000'"):
        bought.setdefault(row.household_id, set()).add(row.product)
    predictions = refreshed("next_products").predictions
    assert {len(prediction["products"]) for prediction in predictions.values()} == {10}
    for prediction in predictions.values():
        scores = [product["score"] for product in prediction["products"]]
        assert scores == sorted(scores, reverse=True)
    chosen = {household: {product["product"] for product in predictions[household]["products"]} for household in bought}
    own = statistics.mean(len(chosen[household] & bought[household]) for household in bought)
    others = statistics.mean(len(chosen[household] & bought[other]) for household, other in pairwise(sorted(bought)))
    assert own > others + 1


@pytest.mark.parametrize("name", EXAMPLES)
def test_each_sql_file_reads_the_purchases_once(folders, name):
    """BigQuery reads a table for each time that a statement names it."""
    files = SqlFiles(folders[name], load_pipeline(folders[name]), "demo")
    refresh = Refresh(name, 1, "demo.foreserve", cutoff=NOW)
    for file in SQL_FILES:
        assert files.render(file, refresh, "demo.foreserve.m").count("shop.transactions") == 1, file


@pytest.mark.parametrize("name", EXAMPLES)
def test_the_cutoff_makes_a_refresh_reproducible(refreshed, warehouse, name):
    """A later purchase changes nothing of a refresh up to an earlier day."""
    cutoff = "1998-05-01T00:00:00+00:00"
    before = refreshed(name, cutoff)
    warehouse.query_and_wait("INSERT INTO shop.transactions VALUES ('00001', DATE '1998-05-01', 9, 900.0)")
    try:
        assert refreshed(name, cutoff, attempt=2) == before != refreshed(name)
    finally:
        warehouse.query_and_wait("DELETE FROM shop.transactions WHERE amount_usd = 900.0")
