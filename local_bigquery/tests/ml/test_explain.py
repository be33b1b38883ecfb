"""ML.EXPLAIN_PREDICT and ML.GLOBAL_EXPLAIN agree with scikit-learn and XGBoost."""

import numpy as np
import pyarrow as pa
import pytest
import xgboost
from google.api_core.exceptions import BadRequest
from sklearn import linear_model

from local_bigquery.ml.model_types import model_type_of

INPUT = ["recency FLOAT64", "frequency INT64", "city STRING", "member BOOL", "id INT64", "held_out BOOL"]
EXPLAINED = [
    "top_feature_attributions ARRAY<STRUCT<feature STRING, attribution FLOAT64>>",
    "baseline_prediction_value FLOAT64",
    "prediction_value FLOAT64",
    "approximation_error FLOAT64",
]
FEATURES = ["recency", "frequency", "city", "member"]


def explain(rows, zoo, name, settings="STRUCT(4 AS top_k_features)"):
    """Return the rows of ML.EXPLAIN_PREDICT by id, with the attributions as a dictionary."""
    found = rows(f"SELECT * FROM ML.EXPLAIN_PREDICT(MODEL {zoo}.{name}, TABLE {zoo}.{name}_rows, {settings})")
    for row in found:
        row["attributions"] = {entry["feature"]: entry["attribution"] for entry in row["top_feature_attributions"]}
    return {row["id"]: row for row in found}


@pytest.fixture(scope="module")
def trained(rows, zoo):
    """The rows, their encoded columns, the feature of each column, and the mask of the training rows."""
    table = rows(f"SELECT * FROM {zoo}.linear_rows ORDER BY id")
    is_trained = np.array([not row["held_out"] for row in table])
    encoded, of_feature = [], []
    for name in ("recency", "frequency"):
        numbers = np.array([np.nan if row[name] is None else row[name] for row in table], dtype=float)
        numbers[np.isnan(numbers)] = np.nanmean(numbers[is_trained])
        encoded.append((numbers - numbers[is_trained].mean()) / numbers[is_trained].std())
        of_feature.append(name)
    for name in ("city", "member"):
        for category in sorted({row[name] for row in table}, key=str):
            encoded.append(np.array([float(row[name] == category) for row in table]))
            of_feature.append(name)
    return table, np.column_stack(encoded), of_feature, is_trained


def expected_attributions(coefficients, matrix, of_feature):
    products = coefficients * matrix
    return {
        name: products[:, [feature == name for feature in of_feature]].sum(axis=1) for name in dict.fromkeys(of_feature)
    }


def test_a_regression_has_the_documented_columns(columns, zoo):
    assert columns(f"SELECT * FROM ML.EXPLAIN_PREDICT(MODEL {zoo}.linear, TABLE {zoo}.linear_rows)") == [
        "predicted_y FLOAT64", *EXPLAINED, *INPUT, "y FLOAT64",
    ]  # fmt: skip


@pytest.mark.parametrize(("name", "label"), [("binary", "INT64"), ("trees", "INT64"), ("multiclass", "STRING")])
def test_a_classification_has_the_documented_columns(columns, zoo, name, label):
    assert columns(f"SELECT * FROM ML.EXPLAIN_PREDICT(MODEL {zoo}.{name}, TABLE {zoo}.{name}_rows)") == [
        f"predicted_y {label}", "probability FLOAT64", *EXPLAINED, *INPUT, f"y {label}",
    ]  # fmt: skip


def test_a_linear_attribution_is_the_weight_times_the_standardised_value(rows, zoo, trained):
    table, matrix, of_feature, is_trained = trained
    reference = linear_model.Ridge(alpha=1e-6 * is_trained.sum())
    reference.fit(matrix[is_trained], np.array([row["y"] for row in table])[is_trained])
    expected = expected_attributions(reference.coef_, matrix, of_feature)
    found = explain(rows, zoo, "linear")
    for i, row in enumerate(table):
        explained = found[row["id"]]
        assert explained["attributions"] == pytest.approx({name: expected[name][i] for name in FEATURES}, abs=1e-3)
        assert explained["baseline_prediction_value"] == pytest.approx(reference.intercept_, abs=1e-3)
        assert explained["prediction_value"] == explained["predicted_y"]


def test_a_logistic_attribution_is_to_the_log_odds_of_the_predicted_class(rows, zoo, trained):
    table, matrix, of_feature, is_trained = trained
    labels = {row["id"]: row["y"] for row in rows(f"SELECT id, y FROM {zoo}.binary_rows")}
    reference = linear_model.LogisticRegression(C=1e6 / is_trained.sum(), tol=1e-9, max_iter=10_000)
    reference.fit(matrix[is_trained], np.array([labels[row["id"]] for row in table])[is_trained])
    expected = expected_attributions(reference.coef_[0], matrix, of_feature)
    found = explain(rows, zoo, "binary")
    assert {row["predicted_y"] for row in found.values()} == {0, 1}
    for i, row in enumerate(table):
        explained = found[row["id"]]
        sign = 1 if explained["predicted_y"] == 1 else -1
        assert explained["attributions"] == pytest.approx(
            {name: sign * expected[name][i] for name in FEATURES}, abs=1e-3
        )
        assert explained["baseline_prediction_value"] == pytest.approx(sign * reference.intercept_[0], abs=1e-3)


@pytest.mark.parametrize("name", ["binary", "multiclass", "linear", "trees", "forest", "tree_numbers"])
def test_baseline_and_attributions_add_up_to_the_prediction(rows, zoo, name):
    found = explain(rows, zoo, name)
    predictions = {
        row["id"]: row for row in rows(f"SELECT * FROM ML.PREDICT(MODEL {zoo}.{name}, TABLE {zoo}.{name}_rows)")
    }
    assert len(found) == 1200
    for key, row in found.items():
        total = row["baseline_prediction_value"] + sum(row["attributions"].values())
        assert row["prediction_value"] == pytest.approx(total, rel=1e-4, abs=1e-4)
        assert row["approximation_error"] == 0
        assert row["predicted_y"] == predictions[key]["predicted_y"]
        if "probability" in row:
            probabilities = {entry["label"]: entry["prob"] for entry in predictions[key]["predicted_y_probs"]}
            assert row["probability"] == pytest.approx(probabilities[row["predicted_y"]])


@pytest.mark.parametrize("name", ["binary", "trees"])
def test_the_prediction_value_of_two_classes_is_the_log_odds(rows, zoo, name):
    for row in explain(rows, zoo, name).values():
        assert 1 / (1 + np.exp(-row["prediction_value"])) == pytest.approx(row["probability"], abs=1e-5)


def test_a_tree_attribution_is_that_of_xgboost():
    generator = np.random.default_rng(0)
    numbers = generator.normal(size=(400, 3))
    labels = (numbers[:, 0] + numbers[:, 1] * numbers[:, 2] > 0).astype(int)
    table = pa.table({name: numbers[:, i] for i, name in enumerate("abc")} | {"label": labels})
    model_type, options = model_type_of({"model_type": "BOOSTED_TREE_CLASSIFIER"})
    model = model_type.train(table, options)
    matrix = xgboost.DMatrix(model.encoder.encode(table))
    for approximate in (False, True):
        expected = model.estimator.booster.predict(matrix, pred_contribs=True, approx_contribs=approximate)
        found = model.explain(table, approximate=approximate)
        sign = np.where(np.asarray(found.predicted) == 1, 1, -1)
        assert found.attributions == pytest.approx(expected[:, :3] * sign[:, np.newaxis])
        assert found.baseline == pytest.approx(expected[:, 3] * sign)


@pytest.mark.parametrize("model_type", ["LINEAR_REG", "BOOSTED_TREE_REGRESSOR"])
def test_the_parts_of_a_column_are_explained_as_one(model_type):
    hours = np.arange(300)
    table = pa.table(
        {
            "at": pa.array(hours * 3_600_000_000, pa.timestamp("us", "UTC")),
            "place": [{"x": float(hour % 7), "kind": "ab"[hour % 2]} for hour in hours],
            "label": (hours % 24 + 3 * (hours % 7) + 5 * (hours % 2)).astype(float),
        }
    )
    trainer, options = model_type_of({"model_type": model_type, "enable_global_explain": True})
    model = trainer.train(table, options)
    found = model.explain(table)
    assert found.features == ("at", "place")
    assert found.baseline + found.attributions.sum(axis=1) == pytest.approx(found.prediction, abs=1e-4)
    assert set(model.global_explanation["feature"].to_pylist()) == {"at", "place"}


def test_the_approximation_of_trees_is_another(rows, zoo):
    exact = explain(rows, zoo, "trees")
    fast = explain(rows, zoo, "trees", "STRUCT(4 AS top_k_features, TRUE AS approx_feature_contrib)")
    assert exact[1]["prediction_value"] == pytest.approx(fast[1]["prediction_value"], abs=1e-4)
    assert exact[1]["attributions"] != pytest.approx(fast[1]["attributions"], abs=1e-4)


@pytest.mark.parametrize(("settings", "most"), [("STRUCT()", 4), ("STRUCT(2 AS top_k_features)", 2)])
def test_the_top_features_are_those_of_the_greatest_absolute_attributions(rows, zoo, settings, most):
    everything = explain(rows, zoo, "linear")
    for key, row in explain(rows, zoo, "linear", settings).items():
        by_size = sorted(everything[key]["attributions"].items(), key=lambda item: -abs(item[1]))
        assert list(row["attributions"].items()) == by_size[:most]


def test_a_threshold_moves_what_is_explained(rows, zoo):
    usual = explain(rows, zoo, "binary")
    strict = explain(rows, zoo, "binary", "STRUCT(4 AS top_k_features, 0.9 AS threshold)")
    (key, *_) = [key for key in usual if usual[key]["predicted_y"] == 1 and usual[key]["probability"] < 0.9]
    assert strict[key]["predicted_y"] == 0
    assert strict[key]["probability"] == pytest.approx(1 - usual[key]["probability"])
    assert strict[key]["prediction_value"] == pytest.approx(-usual[key]["prediction_value"])


def test_no_rows_in_no_rows_out(rows, zoo):
    for name in ("linear", "binary", "multiclass", "trees"):
        query = f"SELECT * FROM {zoo}.{name}_rows WHERE id < 0"
        assert rows(f"SELECT * FROM ML.EXPLAIN_PREDICT(MODEL {zoo}.{name}, ({query}))") == []


@pytest.mark.parametrize("name", ["linear", "binary", "trees", "tree_numbers"])
def test_the_global_explanation_is_the_mean_absolute_attribution_of_the_held_out_rows(rows, columns, zoo, name):
    sql = f"SELECT * FROM ML.GLOBAL_EXPLAIN(MODEL {zoo}.{name})"
    assert columns(sql) == ["feature STRING", "attribution FLOAT64"]
    held_out = [row["attributions"] for row in explain(rows, zoo, name).values() if row["held_out"]]
    expected = {feature: np.mean([abs(row[feature]) for row in held_out]) for feature in FEATURES}
    found = rows(sql)
    assert {row["feature"]: row["attribution"] for row in found} == pytest.approx(expected, abs=1e-5)
    assert found == sorted(found, key=lambda row: -row["attribution"])


def test_the_global_explanation_can_be_by_class(rows, columns, zoo):
    sql = f"SELECT * FROM ML.GLOBAL_EXPLAIN(MODEL {zoo}.multiclass, STRUCT(TRUE AS class_level_explain))"
    assert columns(sql) == ["y STRING", "feature STRING", "attribution FLOAT64"]
    found = rows(sql)
    assert [row["y"] for row in found] == ["low"] * 4 + ["mid"] * 4 + ["top"] * 4
    overall = {
        row["feature"]: row["attribution"] for row in rows(f"SELECT * FROM ML.GLOBAL_EXPLAIN(MODEL {zoo}.multiclass)")
    }
    for feature in FEATURES:
        of_classes = [row["attribution"] for row in found if row["feature"] == feature]
        assert np.mean(of_classes) == pytest.approx(overall[feature])


@pytest.mark.parametrize(
    ("sql", "message"),
    [
        ("ML.EXPLAIN_PREDICT(MODEL {z}.linear)", "ML.EXPLAIN_PREDICT needs an input"),
        ("ML.EXPLAIN_PREDICT(MODEL {z}.clusters, TABLE {z}.linear_rows)", "ML.EXPLAIN_PREDICT .* KMEANS"),
        ("ML.EXPLAIN_PREDICT(MODEL {z}.linear, TABLE {z}.linear_rows, STRUCT(0 AS top_k_features))", "top_k_features"),
        ("ML.EXPLAIN_PREDICT(MODEL {z}.linear, TABLE {z}.linear_rows, STRUCT(0.5 AS threshold))", "threshold"),
        ("ML.EXPLAIN_PREDICT(MODEL {z}.multiclass, TABLE {z}.multiclass_rows, STRUCT(0.5 AS threshold))", "threshold"),
        (
            "ML.EXPLAIN_PREDICT(MODEL {z}.linear, TABLE {z}.linear_rows, STRUCT(TRUE AS approx_feature_contrib))",
            "approx_feature_contrib",
        ),
        (
            "ML.EXPLAIN_PREDICT(MODEL {z}.linear, TABLE {z}.linear_rows, STRUCT(9 AS integrated_gradients_num_steps))",
            "only applies to DNN models",
        ),
        ("ML.GLOBAL_EXPLAIN(MODEL shared.buys)", "enable_global_explain=TRUE"),
        ("ML.GLOBAL_EXPLAIN(MODEL {z}.clusters)", "ML.GLOBAL_EXPLAIN .* KMEANS"),
        ("ML.GLOBAL_EXPLAIN(MODEL {z}.linear, TABLE {z}.linear_rows)", "ML.GLOBAL_EXPLAIN takes no input"),
        (
            "ML.GLOBAL_EXPLAIN(MODEL {z}.linear, STRUCT(TRUE AS class_level_explain))",
            "class_level_explain .* LINEAR_REG",
        ),
    ],
)
@pytest.mark.usefixtures("model")
def test_what_cannot_be_explained_is_refused(rows, zoo, sql, message):
    with pytest.raises(BadRequest, match=message):
        rows(f"SELECT * FROM {sql.format(z=zoo)}")
