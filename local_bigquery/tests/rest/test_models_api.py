"""Models as REST resources, and their replacement and deletion."""

import json
import shutil
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from google.api_core.exceptions import BadRequest, Conflict, NotFound, PreconditionFailed
from google.cloud import bigquery

LINEAR = "OPTIONS(model_type='LINEAR_REG') AS SELECT x, 2.0 * x AS label FROM UNNEST([1, 2, 3]) AS x"


@pytest.fixture
def line(rows, dataset):
    """The name of a linear regression of `label` on `x`."""
    rows(f"CREATE MODEL {dataset}.line {LINEAR}")
    return f"{dataset}.line"


def test_a_model_is_described_as_bigquery_describes_it(client, customers, model):
    found = client.get_model(model)
    assert (found.project, found.dataset_id, found.model_id, found.location) == ("demo", "shared", "buys", "US")
    assert found.model_type == "LOGISTIC_REGRESSION"
    assert {column.name: column.type.type_kind.value for column in found.feature_columns} == {
        "recency": "FLOAT64",
        "frequency": "INT64",
        "city": "STRING",
        "member": "BOOL",
    }
    assert [(column.name, column.type.type_kind.value) for column in found.label_columns] == [("bought", "INT64")]
    assert datetime.now(UTC) - found.created < timedelta(hours=1)
    assert found.expires is None


def test_a_training_run_shows_options_iterations_and_the_metrics_of_ml_evaluate(client, rows, model):
    (run,) = client.get_model(model).training_runs
    assert run["trainingOptions"]["inputLabelColumns"] == ["bought"]
    assert run["trainingOptions"]["dataSplitMethod"] == "NO_SPLIT"
    assert run["trainingOptions"]["lossType"] == "MEAN_LOG_LOSS"
    assert datetime.now(UTC) - datetime.fromisoformat(run["startTime"]) < timedelta(hours=1)

    iterations = rows(f"SELECT * FROM ML.TRAINING_INFO(MODEL {model}) ORDER BY iteration")
    assert [result["index"] for result in run["results"]] == [row["iteration"] for row in iterations]
    assert run["results"][-1]["trainingLoss"] == pytest.approx(iterations[-1]["loss"])

    (metrics,) = rows(f"SELECT * FROM ML.EVALUATE(MODEL {model})")
    binary = run["evaluationMetrics"]["binaryClassificationMetrics"]
    assert (binary["negativeLabel"], binary["positiveLabel"]) == ("0", "1")
    assert binary["aggregateClassificationMetrics"] == pytest.approx(
        {
            "precision": metrics["precision"],
            "recall": metrics["recall"],
            "accuracy": metrics["accuracy"],
            "f1Score": metrics["f1_score"],
            "logLoss": metrics["log_loss"],
            "rocAuc": metrics["roc_auc"],
            "threshold": 0.5,
        }
    )


def test_the_metrics_of_a_regression_and_of_several_classes(client, rows, dataset, line, customers):
    (run,) = client.get_model(line).training_runs
    (metrics,) = rows(f"SELECT * FROM ML.EVALUATE(MODEL {line})")
    assert run["evaluationMetrics"]["regressionMetrics"]["rSquared"] == pytest.approx(metrics["r2_score"])
    rows(
        f"CREATE MODEL {dataset}.cities OPTIONS(model_type='LOGISTIC_REG', input_label_cols=['city']) "
        f"AS SELECT recency, frequency, city FROM {customers} WHERE city IS NOT NULL"
    )
    (run,) = client.get_model(f"{dataset}.cities").training_runs
    (metrics,) = rows(f"SELECT * FROM ML.EVALUATE(MODEL {dataset}.cities)")
    several = run["evaluationMetrics"]["multiClassClassificationMetrics"]["aggregateClassificationMetrics"]
    assert several["logLoss"] == pytest.approx(metrics["log_loss"])
    assert "threshold" not in several


def test_a_column_that_only_splits_the_rows_is_no_feature(client, rows, dataset):
    rows(
        f"CREATE MODEL {dataset}.m OPTIONS(model_type='LINEAR_REG', data_split_method='CUSTOM', data_split_col='held') "
        "AS SELECT x, 2 * x AS label, x > 3 AS held FROM UNNEST([1, 2, 3, 4]) AS x"
    )
    found = client.get_model(f"{dataset}.m")
    assert [column.name for column in found.feature_columns] == ["x"]
    assert found.training_runs[0]["trainingOptions"]["dataSplitColumn"] == "held"


def discovery_document():
    """Return the discovery document of the REST API that the bq command includes."""
    installed = Path(shutil.which("bq")).resolve().parents[1]
    return json.loads((installed / "platform/bq/discovery_next/bigquery.json").read_text())


def check(value, schema, schemas, where):
    """Check that a value conforms to a schema of the discovery document."""
    schema = schemas[schema["$ref"]] if "$ref" in schema else schema
    match schema["type"]:
        case "object" if "properties" in schema:
            assert isinstance(value, dict), where
            for name, item in value.items():
                assert name in schema["properties"], f"{where}.{name}"
                check(item, schema["properties"][name], schemas, f"{where}.{name}")
        case "object":
            for name, item in value.items():
                check(item, schema["additionalProperties"], schemas, f"{where}.{name}")
        case "array":
            for item in value:
                check(item, schema["items"], schemas, f"{where}[]")
        case "string":
            assert isinstance(value, str), where
            assert value in schema.get("enum", [value]), where
            if schema.get("format") == "int64":
                int(value)
        case kind:
            assert type(value) in {"boolean": (bool,), "integer": (int,), "number": (int, float)}[kind], where


@pytest.mark.skipif(
    shutil.which("bq") is None, reason="the bq command, whose description of the API is used, is absent"
)
@pytest.mark.parametrize(
    "options",
    [
        "model_type='LOGISTIC_REG', input_label_cols=['bought'], class_weights=[STRUCT('0', 1.0), STRUCT('1', 2.0)]",
        "model_type='LOGISTIC_REG', input_label_cols=['bought'], data_split_method='SEQ', data_split_col='recency'",
        "model_type='LOGISTIC_REG', input_label_cols=['bought'], max_iterations=7, learn_rate_strategy='LINE_SEARCH'",
        "model_type='LINEAR_REG', input_label_cols=['bought'], enable_global_explain=TRUE, l1_reg=0.1",
        "model_type='LINEAR_REG', input_label_cols=['bought'], optimize_strategy='AUTO_STRATEGY'",
        "model_type='BOOSTED_TREE_CLASSIFIER', input_label_cols=['bought'], max_iterations=3, booster_type='DART'",
        "model_type='BOOSTED_TREE_CLASSIFIER', input_label_cols=['city'], max_iterations=3, enable_global_explain=TRUE",
        "model_type='RANDOM_FOREST_REGRESSOR', input_label_cols=['bought'], num_parallel_tree=3",
        "model_type='KMEANS', num_clusters=3, max_iterations=3, kmeans_init_method='KMEANS++'",
    ],
)
def test_resources_conform_to_the_discovery_document(api, rows, dataset, customers, options):
    rows(f"CREATE MODEL {dataset}.m OPTIONS({options}) AS SELECT * EXCEPT(id) FROM {customers} WHERE city IS NOT NULL")
    schemas = discovery_document()["schemas"]
    _, resource = api("GET", f"datasets/{dataset}/models/m")
    check(resource, schemas["Model"], schemas, "model")
    assert resource["trainingRuns"][0]["results"]
    assert resource["trainingRuns"][0]["evaluationMetrics"]
    for job in api("GET", "jobs", params={"maxResults": 5})[1]["jobs"]:
        check(job["statistics"]["query"].get("mlStatistics", {}), schemas["MlStatistics"], schemas, "mlStatistics")


def test_models_are_listed_in_pages_with_the_fields_of_a_list(client, api, rows, dataset):
    for name in ("b", "a", "c"):
        rows(f"CREATE MODEL {dataset}.{name} {LINEAR}")
    pages = client.list_models(dataset, page_size=2).pages
    assert [[model.model_id for model in page] for page in pages] == [["a", "b"], ["c"]]
    _, listed = api("GET", f"datasets/{dataset}/models")
    assert set(listed["models"][0]) == {"modelReference", "modelType", "creationTime", "lastModifiedTime"}
    assert api("GET", "datasets/absent/models")[0] == 404


def test_what_a_client_may_change_is_changed_and_the_rest_stays(client, line):
    found = client.get_model(line)
    found.description = "A line"
    found.friendly_name = "Line"
    found.labels = {"team": "ads", "stage": "test"}
    found.expires = datetime.now(UTC) + timedelta(days=1)
    client.update_model(found, ["description", "friendly_name", "labels", "expires"])
    changed = client.get_model(line)
    assert (changed.description, changed.friendly_name) == ("A line", "Line")
    assert changed.labels == {"team": "ads", "stage": "test"}
    assert abs(changed.expires - found.expires) < timedelta(seconds=1)
    assert changed.training_runs == found.training_runs
    assert changed.modified > changed.created

    changed.labels = {"stage": None}
    changed.expires = None
    client.update_model(changed, ["labels", "expires"])
    assert client.get_model(line).labels == {"team": "ads"}
    assert client.get_model(line).expires is None
    assert client.get_model(line).description == "A line"
    assert [model.labels for model in client.list_models(line.split(".")[0])] == [{"team": "ads"}]


def test_a_change_of_what_has_changed_meanwhile_is_refused(client, line):
    first, second = client.get_model(line), client.get_model(line)
    first.description = "first"
    client.update_model(first, ["description"])
    second.description = "second"
    with pytest.raises(PreconditionFailed):
        client.update_model(second, ["description"])
    assert client.get_model(line).description == "first"


def test_what_training_has_found_cannot_be_changed(api, line):
    dataset, name = line.split(".")
    status, body = api("PATCH", f"datasets/{dataset}/models/{name}", json={"modelType": "KMEANS"})
    assert (status, body["error"]["message"]) == (400, "The field 'modelType' of a model cannot be changed")


def test_an_expired_model_is_gone(client, rows, dataset, line):
    found = client.get_model(line)
    found.expires = datetime.now(UTC) + timedelta(milliseconds=50)
    client.update_model(found, ["expires"])
    while list(client.list_models(dataset)):
        assert datetime.now(UTC) < found.expires + timedelta(seconds=10)
    with pytest.raises(NotFound, match="Not found: Model"):
        client.get_model(line)
    with pytest.raises(NotFound, match="Not found: Model"):
        rows(f"SELECT * FROM ML.PREDICT(MODEL {line}, (SELECT 1 AS x))")
    rows(f"CREATE MODEL {line} {LINEAR}")
    assert client.get_model(line).expires is None


def test_the_default_expiration_of_a_dataset_is_that_of_its_models(client, rows, dataset):
    settings = client.get_dataset(dataset)
    settings.default_table_expiration_ms = 24 * 3600 * 1000
    client.update_dataset(settings, ["default_table_expiration_ms"])
    rows(f"CREATE MODEL {dataset}.m {LINEAR}")
    found = client.get_model(f"{dataset}.m")
    assert found.expires - found.created == pytest.approx(timedelta(days=1), abs=timedelta(minutes=1))


def test_a_deleted_model_is_not_found(client, rows, line):
    client.delete_model(line)
    for call in (client.get_model, client.delete_model):
        with pytest.raises(NotFound, match=rf"Not found: Model demo:{line}"):
            call(line)
    with pytest.raises(NotFound, match=rf"Not found: Model demo:{line}"):
        rows(f"SELECT * FROM ML.EVALUATE(MODEL {line})")


def test_models_go_with_their_dataset(client, rows, dataset, line):
    with pytest.raises(BadRequest, match=f"Dataset demo:{dataset} is still in use"):
        client.delete_dataset(dataset)
    client.delete_dataset(dataset, delete_contents=True)
    client.create_dataset(dataset)
    assert list(client.list_models(dataset)) == []
    with pytest.raises(NotFound):
        rows(f"SELECT * FROM ML.PREDICT(MODEL {line}, (SELECT 1 AS x))")


@pytest.mark.parametrize(
    "name", ["{d}.m", "`{d}.m`", "`{d}`.`m`", "demo.{d}.m", "`demo.{d}.m`", "`demo`.{d}.m", "`{d}.m-1`"]
)
def test_names_may_be_back_quoted_in_part_or_whole(client, rows, dataset, name):
    name = name.format(d=dataset)
    rows(f"CREATE MODEL {name} {LINEAR}")
    assert [model.model_id for model in client.list_models(dataset)] in (["m"], ["m-1"])
    (row,) = rows(f"SELECT ROUND(predicted_label, 2) AS y FROM ML.PREDICT(MODEL {name}, (SELECT 5 AS x))")
    assert row == {"y": 10.0}
    rows(f"DROP MODEL {name}")
    assert list(client.list_models(dataset)) == []


def test_a_model_may_be_used_from_another_dataset(client, rows, dataset, line):
    client.create_dataset(f"{dataset}_other")
    try:
        rows(f"CREATE TABLE {dataset}_other.t AS SELECT 7 AS x")
        job = client.query(
            f"SELECT ROUND(predicted_label, 2) AS y FROM ML.PREDICT(MODEL {line}, TABLE t)",
            job_config=bigquery.QueryJobConfig(default_dataset=f"demo.{dataset}_other"),
        )
        assert [row["y"] for row in job.result()] == [14.0]
    finally:
        client.delete_dataset(f"{dataset}_other", delete_contents=True)


def test_a_model_that_exists_is_kept_replaced_or_refused(client, rows, line):
    created = client.get_model(line).created
    steeper = LINEAR.replace("2.0", "4.0")

    def predicted():
        (row,) = rows(f"SELECT ROUND(predicted_label, 2) AS y FROM ML.PREDICT(MODEL {line}, (SELECT 5 AS x))")
        return row["y"]

    with pytest.raises(Conflict, match=rf"Already Exists: Model demo:{line}"):
        rows(f"CREATE MODEL {line} {steeper}")
    job = client.query(f"CREATE MODEL IF NOT EXISTS {line} {steeper}")
    job.result()
    assert job.ddl_operation_performed == "SKIP"
    assert (client.get_model(line).created, predicted()) == (created, 10.0)
    job = client.query(f"CREATE OR REPLACE MODEL {line} {steeper}")
    job.result()
    assert job.ddl_operation_performed == "REPLACE"
    assert client.get_model(line).created > created
    assert predicted() == 20.0
    with pytest.raises(BadRequest, match="both OR REPLACE and IF NOT EXISTS"):
        rows(f"CREATE OR REPLACE MODEL IF NOT EXISTS {line} {steeper}")


def test_a_failed_replacement_leaves_the_model_as_it_was(client, rows, line):
    before = client.get_model(line)
    with pytest.raises(BadRequest):
        rows(f"CREATE OR REPLACE MODEL {line} {LINEAR} WHERE x > 5")
    assert client.get_model(line).etag == before.etag
    (row,) = rows(f"SELECT ROUND(predicted_label, 2) AS y FROM ML.PREDICT(MODEL {line}, (SELECT 5 AS x))")
    assert row == {"y": 10.0}


def test_a_statement_uses_one_model_from_start_to_end(local_bigquery, rows, dataset):
    """The model alternates between one that predicts 0 and one that predicts 1; no statement may see both."""

    def replace(constant):
        return (
            f"CREATE OR REPLACE MODEL {dataset}.m OPTIONS(model_type='LINEAR_REG', data_split_method='NO_SPLIT') "
            f"AS SELECT x, {constant} AS label FROM UNNEST([1, 2, 3]) AS x"
        )

    rows(replace(0))
    stop = threading.Event()
    replaced = []

    def keep_replacing():
        other = local_bigquery.client()
        while not stop.is_set():
            other.query(replace(len(replaced) % 2)).result()
            replaced.append(True)

    call = f"SELECT predicted_label FROM ML.PREDICT(MODEL {dataset}.m, (SELECT * FROM UNNEST([1, 2, 3]) AS x))"
    thread = threading.Thread(target=keep_replacing)
    thread.start()
    try:
        seen = [
            row
            for _ in range(12)
            for row in rows(f"SELECT ROUND(MIN(predicted_label)) AS low, ROUND(MAX(predicted_label)) AS high "
                            f"FROM ({call} UNION ALL {call} UNION ALL {call})")
        ]  # fmt: skip
    finally:
        stop.set()
        thread.join()
    assert all(row["low"] == row["high"] for row in seen)
    assert {row["low"] for row in seen} == {0.0, 1.0}, f"{len(replaced)} replacements"


@pytest.mark.parametrize(
    ("sql", "message"),
    [
        ("EXPORT MODEL shared.buys OPTIONS(URI='gs://bucket/buys')", "EXPORT MODEL is not supported"),
        ("SELECT 1; EXPORT MODEL `demo.shared.buys` OPTIONS(URI='gs://bucket/buys')", "EXPORT MODEL is not supported"),
        ("ALTER MODEL shared.buys SET OPTIONS(description='x')", "ALTER MODEL is not supported"),
        (f"CREATE TEMP MODEL buys {LINEAR}", "TEMPORARY"),
    ],
)
def test_statements_that_are_not_there_are_refused_by_name(rows, model, sql, message):
    with pytest.raises(BadRequest, match=message):
        rows(sql)


def test_models_cannot_be_exported_by_a_job(client, model):
    with pytest.raises(BadRequest, match="Models cannot be exported"):
        client.extract_table(client.get_model(model), "gs://bucket/buys", source_type="Model").result()


def test_a_model_without_a_defined_precision_can_be_described(client, rows, dataset):
    rows(
        f"CREATE MODEL {dataset}.never OPTIONS(model_type='LOGISTIC_REG') AS "
        "SELECT MOD(x, 7) AS x, x = 50 AS label FROM UNNEST(GENERATE_ARRAY(1, 50)) AS x"
    )
    (run,) = client.get_model(f"{dataset}.never").to_api_repr()["trainingRuns"]
    found = run["evaluationMetrics"]["binaryClassificationMetrics"]["aggregateClassificationMetrics"]
    assert "precision" not in found
    assert found["recall"] == 0.0


def test_the_label_of_a_transform_is_described_whatever_its_case(client, rows, dataset):
    rows(
        f"CREATE MODEL {dataset}.m TRANSFORM(x + 1 AS y, label) OPTIONS(model_type='LINEAR_REG') AS "
        "SELECT x, 2 * x AS Label FROM UNNEST([1, 2, 3]) AS x"
    )
    assert [column.name for column in client.get_model(f"{dataset}.m").label_columns] == ["Label"]


def test_a_name_too_long_for_a_file_leaves_no_model(client, rows, dataset):
    with pytest.raises(BadRequest, match="too long"):
        rows(f"CREATE MODEL {dataset}.{'m' * 300} {LINEAR}")
    assert list(client.list_models(dataset)) == []
