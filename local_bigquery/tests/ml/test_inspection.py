"""Functions that describe a model: ML.WEIGHTS, ML.FEATURE_IMPORTANCE, ML.CENTROIDS and others."""

import numpy as np
import pytest
from google.api_core.exceptions import BadRequest

WEIGHTS = [
    "processed_input STRING",
    "weight FLOAT64",
    "category_weights ARRAY<STRUCT<category STRING, weight FLOAT64>>",
]
TRAINING = [
    "training_run INT64", "iteration INT64", "loss FLOAT64", "eval_loss FLOAT64", "learning_rate FLOAT64",
    "duration_ms INT64",
]  # fmt: skip


def weights(rows, model, settings=""):
    """Return the weights of a model by feature: a number, or a dictionary by category."""
    return {
        row["processed_input"]: row["weight"]
        if row["weight"] is not None
        else {entry["category"]: entry["weight"] for entry in row["category_weights"]}
        for row in rows(f"SELECT * FROM ML.WEIGHTS(MODEL {model}{settings})")
    }


def test_weights_have_the_documented_columns(columns, zoo):
    assert columns(f"SELECT * FROM ML.WEIGHTS(MODEL {zoo}.linear)") == WEIGHTS
    assert columns(f"SELECT * FROM ML.WEIGHTS(MODEL {zoo}.binary)") == WEIGHTS
    assert columns(f"SELECT * FROM ML.WEIGHTS(MODEL {zoo}.multiclass)") == [*WEIGHTS, "class_label STRING"]


def test_weights_are_what_predicts(rows, zoo):
    found = weights(rows, f"{zoo}.linear")
    assert list(found) == ["recency", "frequency", "city", "member", "__INTERCEPT__"]
    assert list(found["city"]) == ["city0", "city1", "city2", "city3", "city4", "_null_filler"]
    predicted = rows(
        f"SELECT * FROM ML.PREDICT(MODEL {zoo}.linear, (SELECT * FROM {zoo}.linear_rows WHERE frequency IS NOT NULL))"
    )
    for row in predicted:
        expected = (
            found["__INTERCEPT__"]
            + found["recency"] * row["recency"]
            + found["frequency"] * row["frequency"]
            + found["city"][row["city"] or "_null_filler"]
            + found["member"][str(row["member"]).lower()]
        )
        assert row["predicted_y"] == pytest.approx(expected)


def test_standardised_weights_are_those_of_standardised_numbers(rows, zoo):
    plain, standardised = (
        weights(rows, f"{zoo}.binary", settings) for settings in ("", ", STRUCT(TRUE AS standardize)")
    )
    (numbers,) = rows(
        "SELECT STDDEV_POP(recency) AS deviation, AVG(recency) AS mean, AVG(frequency) AS mean_frequency "
        f"FROM {zoo}.binary_rows WHERE NOT held_out"
    )
    assert standardised["recency"] == pytest.approx(plain["recency"] * numbers["deviation"])
    assert standardised["city"] == pytest.approx(plain["city"])
    assert standardised["__INTERCEPT__"] == pytest.approx(
        plain["__INTERCEPT__"] + plain["recency"] * numbers["mean"] + plain["frequency"] * numbers["mean_frequency"]
    )


def test_several_classes_have_weights_each(rows, zoo):
    found = rows(f"SELECT * FROM ML.WEIGHTS(MODEL {zoo}.multiclass)")
    assert [(row["class_label"], row["processed_input"]) for row in found] == [
        (label, name)
        for label in ("low", "mid", "top")
        for name in ("recency", "frequency", "city", "member", "__INTERCEPT__")
    ]
    predicted = rows(
        f"SELECT * FROM ML.PREDICT(MODEL {zoo}.multiclass, "
        f"(SELECT * FROM {zoo}.multiclass_rows WHERE frequency IS NOT NULL LIMIT 50))"
    )
    of = {(row["class_label"], row["processed_input"]): row for row in found}
    for row in predicted:
        log_odds = [
            of[label, "__INTERCEPT__"]["weight"]
            + sum(of[label, name]["weight"] * row[name] for name in ("recency", "frequency"))
            + sum(
                entry["weight"]
                for name, value in (("city", row["city"] or "_null_filler"), ("member", str(row["member"]).lower()))
                for entry in of[label, name]["category_weights"]
                if entry["category"] == value
            )
            for label in ("low", "mid", "top")
        ]
        expected = np.exp(log_odds) / np.exp(log_odds).sum()
        assert {entry["label"]: entry["prob"] for entry in row["predicted_y_probs"]} == pytest.approx(
            dict(zip(("low", "mid", "top"), expected, strict=True)), abs=1e-9
        )


def test_category_weights_can_be_unnested(rows, zoo):
    found = rows(f"""
        SELECT category, weight FROM UNNEST((
          SELECT category_weights FROM ML.WEIGHTS(MODEL {zoo}.linear) WHERE processed_input = 'member'))""")
    assert [row["category"] for row in found] == ["false", "true"]


@pytest.mark.parametrize("name", ["trees", "forest", "tree_numbers"])
def test_feature_importance_lists_every_feature(rows, columns, zoo, name):
    sql = f"SELECT * FROM ML.FEATURE_IMPORTANCE(MODEL {zoo}.{name})"
    assert columns(sql) == [
        "feature STRING", "importance_weight FLOAT64", "importance_gain FLOAT64", "importance_cover FLOAT64",
    ]  # fmt: skip
    found = {row["feature"]: row for row in rows(sql)}
    assert set(found) == {"recency", "frequency", "city", "member"}
    assert max(found, key=lambda feature: found[feature]["importance_gain"]) in ("recency", "member")
    assert all(row["importance_weight"] == int(row["importance_weight"]) for row in found.values())


def test_centroids_have_a_row_for_each_feature(rows, columns, zoo):
    sql = f"SELECT * FROM ML.CENTROIDS(MODEL {zoo}.clusters)"
    assert columns(sql)[:3] == ["centroid_id INT64", "feature STRING", "numerical_value FLOAT64"]
    found = rows(sql)
    assert {(row["centroid_id"], row["feature"]) for row in found} == {
        (number, name) for number in (1, 2, 3) for name in ("recency", "frequency", "city")
    }
    plain = {(row["centroid_id"], row["feature"]): row["numerical_value"] for row in found}
    standardised = rows(f"SELECT * FROM ML.CENTROIDS(MODEL {zoo}.clusters, STRUCT(TRUE AS standardize))")
    (numbers,) = rows(f"SELECT AVG(recency) AS mean, STDDEV_POP(recency) AS deviation FROM {zoo}.linear_rows")
    for row in standardised:
        if row["feature"] == "recency":
            expected = (plain[row["centroid_id"], "recency"] - numbers["mean"]) / numbers["deviation"]
            assert row["numerical_value"] == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize(
    ("name", "metric"), [("binary", "log_loss"), ("multiclass", "log_loss"), ("linear", "mean_squared_error")]
)
def test_training_info_of_a_linear_model_has_the_losses_of_both_splits(rows, columns, zoo, name, metric):
    sql = f"SELECT * FROM ML.TRAINING_INFO(MODEL {zoo}.{name})"
    assert columns(sql) == TRAINING
    last = max(rows(sql), key=lambda row: row["iteration"])
    for loss, condition in (("loss", "NOT held_out"), ("eval_loss", "held_out")):
        (evaluated,) = rows(
            f"SELECT * FROM ML.EVALUATE(MODEL {zoo}.{name}, (SELECT * FROM {zoo}.{name}_rows WHERE {condition}))"
        )
        assert last[loss] == pytest.approx(evaluated[metric])
    assert last["training_run"] == 0
    assert last["duration_ms"] >= 0


def test_training_info_of_boosted_trees_has_every_iteration(rows, columns, zoo):
    sql = f"SELECT * FROM ML.TRAINING_INFO(MODEL {zoo}.trees)"
    assert columns(sql) == TRAINING
    found = sorted(rows(sql), key=lambda row: row["iteration"])
    assert len(found) > 1
    assert found[-1]["loss"] < found[0]["loss"]
    assert all(row["eval_loss"] is not None and row["learning_rate"] is not None for row in found)


def test_training_info_of_clusters_has_the_documented_columns(columns, zoo):
    assert columns(f"SELECT * FROM ML.TRAINING_INFO(MODEL {zoo}.clusters)") == [
        "training_run INT64", "iteration INT64", "loss FLOAT64", "duration_ms INT64",
        "cluster_info ARRAY<STRUCT<centroid_id INT64, cluster_radius FLOAT64, cluster_size INT64>>",
    ]  # fmt: skip


def test_without_a_split_there_is_no_loss_of_held_out_rows(rows, model):
    assert [row["eval_loss"] for row in rows(f"SELECT * FROM ML.TRAINING_INFO(MODEL {model})")] == [None]


@pytest.mark.parametrize("name", ["linear", "trees"])
def test_feature_info_has_the_statistics_of_each_column(rows, columns, zoo, name):
    sql = f"SELECT * FROM ML.FEATURE_INFO(MODEL {zoo}.{name})"
    assert columns(sql) == [
        "input STRING", "min FLOAT64", "max FLOAT64", "mean FLOAT64", "median FLOAT64", "stddev FLOAT64",
        "category_count INT64", "null_count INT64", "dimension INT64",
    ]  # fmt: skip
    found = {row.pop("input"): row for row in rows(sql)}
    (expected,) = rows(f"""
        SELECT MIN(frequency) AS min, MAX(frequency) AS max, AVG(frequency) AS mean, STDDEV(frequency) AS stddev,
          COUNTIF(frequency IS NULL) AS null_count, COUNTIF(city IS NULL) AS null_cities
        FROM {zoo}.{name}_rows""")
    null_cities = expected.pop("null_cities")
    assert {key: found["frequency"][key] for key in expected} == pytest.approx(expected)
    assert found["frequency"]["median"] is not None
    assert (found["frequency"]["category_count"], found["frequency"]["dimension"]) == (None, None)
    assert (found["city"]["category_count"], found["city"]["null_count"]) == (5, null_cities)
    assert found["city"]["mean"] is None
    assert list(found) == ["recency", "frequency", "city", "member"]


@pytest.mark.parametrize(
    ("sql", "message"),
    [
        ("ML.WEIGHTS(MODEL {z}.trees)", "ML.WEIGHTS is not supported for models of type BOOSTED_TREE_CLASSIFIER"),
        ("ML.WEIGHTS(MODEL {z}.clusters)", "ML.WEIGHTS is not supported for models of type KMEANS"),
        ("ML.WEIGHTS(MODEL {z}.linear, TABLE {z}.linear_rows)", "ML.WEIGHTS takes no input"),
        ("ML.WEIGHTS(MODEL {z}.linear, STRUCT(1 AS standardize))", "'standardize' of ML.WEIGHTS"),
        ("ML.CENTROIDS(MODEL {z}.linear)", "ML.CENTROIDS is not supported for models of type LINEAR_REG"),
        ("ML.FEATURE_IMPORTANCE(MODEL {z}.binary)", "ML.FEATURE_IMPORTANCE .* LOGISTIC_REG"),
        ("ML.FEATURE_IMPORTANCE(MODEL {z}.trees, STRUCT(1 AS x))", "'x' of ML.FEATURE_IMPORTANCE"),
        ("ML.TRAINING_INFO(MODEL {z}.linear, TABLE {z}.linear_rows)", "ML.TRAINING_INFO takes no input"),
        ("ML.FEATURE_INFO(MODEL {z}.linear, TABLE {z}.linear_rows)", "ML.FEATURE_INFO takes no input"),
    ],
)
def test_what_a_model_does_not_have_is_refused(rows, zoo, sql, message):
    with pytest.raises(BadRequest, match=message):
        rows(f"SELECT * FROM {sql.format(z=zoo)}")
