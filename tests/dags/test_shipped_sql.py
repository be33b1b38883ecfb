"""All SQL that is shipped or shown, by Google's analyzer: the factory's, the operators', the documents'."""

import re
from itertools import product

import pytest

from foreserve.operators.smoke_test import sample_query
from foreserve.refresh import Refresh
from local_bigquery.analyzer import Catalog, Type, analyze, parse
from refresh_factory.check.rules import check_pipelines
from refresh_factory.new import new_pipeline
from refresh_factory.pipeline import Pipeline
from refresh_factory.statements import Statements
from tests.repository import files

STRING, INT64 = Type("STRING"), Type("INT64")
PREDICTIONS = {"entity_id": STRING, "payload": STRING}
REFRESH = Refresh(
    "churn",
    2,
    "p.foreserve",
    active=1,
    champion_model="p.foreserve.churn_model_1",
    active_predictions_table="p.foreserve.churn_predictions_1",
    cutoff="2026-11-23T05:00:00+00:00",
)
FIRST = Refresh("churn", 2, "p.foreserve", cutoff=REFRESH.cutoff)
TABLES = {
    "p.foreserve.churn_predictions_1": PREDICTIONS,
    "p.foreserve.churn_predictions_2": PREDICTIONS,
    "p.foreserve.churn_predictions_VERSION": PREDICTIONS,
    "p.foreserve.churn_changes_2": PREDICTIONS,
}
CATALOG = Catalog(TABLES, "p")
GATES = [
    {},
    {"max_changed": 0.5},
    {"drift": {"p": {"max_psi": 0.25}, "q": {"max_psi": 0.25, "bins": 20}}, "max_changed": 0.1},
]


@pytest.mark.parametrize(("refresh", "gate"), product((FIRST, REFRESH), GATES))
def test_the_factorys_statements_around_the_predictions(tmp_path, refresh, gate):
    fields = {"model": "churn", "entity_type": "customer", "quality_gate": {"metrics": {"roc_auc": {"minimum": 0.5}}}}
    statements = Statements(tmp_path, Pipeline.model_validate(fields | {"prediction_gate": gate}), "p")
    measures = analyze(statements.measure(refresh, {"p": "$.p", "q": "$.q"}), CATALOG)
    assert {kind.kind for _, kind in measures.columns} <= {"INT64", "FLOAT64"}
    for scope in ("changes", "full"):
        assert dict(analyze(statements.changes(refresh, scope), CATALOG).columns) == PREDICTIONS


def test_a_pipeline_with_every_rule(tmp_path):
    folder = new_pipeline("churn", tmp_path)
    settings = folder / "pipeline.yaml"
    rules = "prediction_gate:\n  max_changed: 0.5\n  drift:\n    probability: {max_psi: 0.25, bins: 20}"
    settings.write_text(settings.read_text().replace("prediction_gate:", rules))
    assert check_pipelines([folder]) == []


@pytest.mark.parametrize("table_bytes", [0, 10 * 2**30, 2**40])
def test_the_smoke_tests_sample(table_bytes):
    sql = sample_query("p.foreserve.churn_predictions_2", 500, 10**9, table_bytes)
    assert dict(analyze(sql, CATALOG).columns) == PREDICTIONS


def sql_in_documents():
    for file in sorted(files("*.md")):
        for block in re.finditer(r"^( *)```sql\n(.*?)^\1```$", file.read_text(), re.DOTALL | re.MULTILINE):
            line = file.read_text()[: block.start()].count("\n") + 1
            yield pytest.param(re.sub(f"^{block[1]}", "", block[2], flags=re.MULTILINE), id=f"{file.name}:{line}")


@pytest.mark.parametrize("text", sql_in_documents())
def test_the_documents_sql(text):
    """An ellipsis in brackets stands for a table of Bigtable, as BigQuery shows it."""
    sql = text.replace("(...)", "(SELECT 'k' AS rowkey, STRUCT(1 AS x) AS scores)")
    sql = re.sub("{%.*?%}", "", sql)  # tests/dags/test_check.py renders such lines
    for statement in parse(sql):
        if statement.kind == "QUERY":
            analyze(sql, CATALOG)
