"""Boosted trees and random forests are those of XGBoost for the same numbers."""

import numpy as np
import pyarrow as pa
import pytest
import xgboost
from google.api_core.exceptions import BadRequest

from local_bigquery.errors import BigQueryError
from local_bigquery.ml.model import Classifying, Explainable, Model, TreeBased
from local_bigquery.ml.model_types import model_type_of

BOOSTED = {"eta": 0.3, "max_depth": 6, "tree_method": "hist", "base_score": 0.5, "nthread": 1, "seed": 0}
FOREST = BOOSTED | {"eta": 1.0, "max_depth": 15, "subsample": 0.8, "colsample_bynode": 0.8, "num_parallel_tree": 100}
BINARY = {"objective": "binary:logistic"}
NO_SPLIT = {"data_split_method": "NO_SPLIT"}
ROUNDS = 20
CITIES = ("Aarhus", "Bergen", "Cork")


def train(model_type, table, **options):
    kind, complete = model_type_of({"model_type": model_type, **options})
    return kind.train(table, complete)


def label_codes(values):
    categories = sorted({value for value in values if value is not None}, key=str)
    return [0 if value is None else categories.index(value) + 1 for value in values]


def positive(probs, label=1):
    return next(entry["prob"] for entry in probs if entry["label"] == label)


@pytest.fixture(scope="module")
def purchases():
    """Rows sorted by their columns, like training rows."""
    random = np.random.default_rng(7)
    count = 900
    table = pa.table(
        {
            "spent": random.gamma(2.0, 10.0, count).round(2),
            "visits": random.poisson(2.0, count),
            "city": np.array(CITIES)[random.integers(0, 3, count)],
        }
    )
    city = np.array(label_codes(table["city"].to_pylist()))
    score = 0.1 * table["spent"].to_numpy() - table["visits"].to_numpy() + city + random.normal(0.0, 0.7, count)
    table = table.append_column("score", pa.array(score)).append_column("label", pa.array((score > 2).astype(int)))
    return table.sort_by([(name, "ascending") for name in table.column_names])


@pytest.fixture(scope="module")
def binary(purchases):
    return purchases.drop_columns(["score"])


@pytest.fixture(scope="module")
def numbers(purchases):
    return purchases.drop_columns(["label"]).rename_columns(["spent", "visits", "city", "label"])


def matrix_of(table):
    columns = [table["spent"].to_numpy(), table["visits"].to_numpy(), label_codes(table["city"].to_pylist())]
    return np.column_stack(columns).astype(float)


def reference(table, parameters, rounds=ROUNDS, weight=None):
    data = xgboost.DMatrix(matrix_of(table), table["label"].to_numpy(), weight=weight)
    return xgboost.train(parameters, data, rounds)


def probabilities(model, table):
    return model.scored(table).probabilities


def test_boosted_trees_in_sql_are_those_of_xgboost(rows, dataset, customers):
    rows(
        f"CREATE MODEL {dataset}.m OPTIONS(model_type='BOOSTED_TREE_CLASSIFIER', input_label_cols=['bought'], "
        f"data_split_method='NO_SPLIT', early_stop=FALSE) AS SELECT * EXCEPT(id) FROM {customers}"
    )
    found = rows(f"SELECT * FROM ML.PREDICT(MODEL {dataset}.m, TABLE {customers}) ORDER BY id")
    table = rows(f"SELECT * FROM {customers} ORDER BY id")
    column = {name: [row[name] for row in table] for name in table[0]}
    frequency = np.array(column["frequency"], dtype=float)
    frequency[np.isnan(frequency)] = np.nanmean(frequency)
    matrix = np.column_stack([column["recency"], frequency, label_codes(column["city"]), label_codes(column["member"])])
    booster = xgboost.train(BOOSTED | BINARY, xgboost.DMatrix(matrix, column["bought"]), ROUNDS)
    expected = booster.predict(xgboost.DMatrix(matrix))
    assert [positive(row["predicted_bought_probs"]) for row in found] == pytest.approx(expected, abs=1e-5)
    assert [row["predicted_bought"] for row in found] == [int(value > 0.5) for value in expected]


def test_results_have_the_documented_columns(client, rows, dataset, customers):
    for name, model_type, label in (
        ("c", "RANDOM_FOREST_CLASSIFIER", "IF(recency < 3, 'a', IF(recency < 6, 'b', 'c'))"),
        ("r", "RANDOM_FOREST_REGRESSOR", "CAST(recency AS NUMERIC)"),
    ):
        rows(
            f"CREATE MODEL {dataset}.{name} OPTIONS(model_type='{model_type}', num_parallel_tree=5) AS "
            f"SELECT frequency, city, {label} AS label FROM {customers}"
        )
    result = client.query(f"SELECT * FROM ML.PREDICT(MODEL {dataset}.c, (SELECT 1 AS frequency, 'x' AS city))").result()
    predicted, probs, *_ = result.schema
    assert (predicted.name, predicted.field_type) == ("predicted_label", "STRING")
    assert (probs.name, probs.field_type, probs.mode) == ("predicted_label_probs", "RECORD", "REPEATED")
    assert [(field.name, field.field_type) for field in probs.fields] == [("label", "STRING"), ("prob", "FLOAT")]
    (row,) = result
    assert sum(entry["prob"] for entry in row["predicted_label_probs"]) == pytest.approx(1.0, abs=1e-12)
    assert {entry["label"] for entry in row["predicted_label_probs"]} == {"a", "b", "c"}
    result = client.query(f"SELECT * FROM ML.PREDICT(MODEL {dataset}.r, (SELECT 1 AS frequency, 'x' AS city))").result()
    assert (result.schema[0].name, result.schema[0].field_type) == ("predicted_label", "FLOAT")
    assert [model.model_type for model in client.list_models(dataset)] == [
        "RANDOM_FOREST_CLASSIFIER", "RANDOM_FOREST_REGRESSOR",
    ]  # fmt: skip


@pytest.mark.parametrize(
    "model_type",
    ["BOOSTED_TREE_CLASSIFIER", "BOOSTED_TREE_REGRESSOR", "RANDOM_FOREST_CLASSIFIER", "RANDOM_FOREST_REGRESSOR"],
)
def test_models_offer_what_the_functions_need(model_type, binary):
    model = train(model_type, binary)
    assert model.model_type == model_type
    assert isinstance(model, Model)
    assert isinstance(model, Explainable)
    assert isinstance(model, TreeBased)
    assert isinstance(model, Classifying) is model_type.endswith("CLASSIFIER")


@pytest.mark.parametrize(
    ("option", "parameter"),
    [
        ({"l1_reg": 3.0}, {"alpha": 3.0}),
        ({"l2_reg": 50}, {"lambda": 50}),
        ({"learn_rate": 0.05}, {"eta": 0.05}),
        ({"max_tree_depth": 2}, {"max_depth": 2}),
        ({"min_tree_child_weight": 20}, {"min_child_weight": 20}),
        ({"min_split_loss": 5.0}, {"gamma": 5.0}),
        ({"subsample": 0.5}, {"subsample": 0.5}),
        ({"colsample_bytree": 0.4}, {"colsample_bytree": 0.4}),
        ({"colsample_bylevel": 0.4}, {"colsample_bylevel": 0.4}),
        ({"colsample_bynode": 0.4}, {"colsample_bynode": 0.4}),
        ({"num_parallel_tree": 4, "subsample": 0.5}, {"num_parallel_tree": 4, "subsample": 0.5}),
        ({"tree_method": "EXACT"}, {"tree_method": "exact"}),
        ({"tree_method": "approx"}, {"tree_method": "approx"}),
        (
            {"booster_type": "DART", "dropout": 0.5, "dart_normalize_type": "FOREST"},
            {"booster": "dart", "rate_drop": 0.5, "normalize_type": "forest"},
        ),
        ({"max_iterations": 3}, {}),
    ],
)
def test_options_are_those_of_xgboost(binary, option, parameter):
    found = probabilities(train("BOOSTED_TREE_CLASSIFIER", binary, **NO_SPLIT, early_stop=False, **option), binary)
    rounds = option.get("max_iterations", ROUNDS)
    booster = reference(binary, BOOSTED | BINARY | parameter, rounds)
    rows = xgboost.DMatrix(matrix_of(binary))
    assert found[:, 1] == pytest.approx(booster.predict(rows), abs=1e-6)
    usual = reference(binary, BOOSTED | BINARY).predict(rows)
    assert np.abs(found[:, 1] - usual).max() > 1e-3


def test_a_random_forest_is_one_round_of_many_trees(binary, numbers):
    rows = xgboost.DMatrix(matrix_of(binary))
    classifier = train("RANDOM_FOREST_CLASSIFIER", binary, **NO_SPLIT)
    expected = reference(binary, FOREST | BINARY, rounds=1).predict(rows)
    assert probabilities(classifier, binary)[:, 1] == pytest.approx(expected, abs=1e-6)
    regressor = train("RANDOM_FOREST_REGRESSOR", numbers, **NO_SPLIT)
    expected = reference(numbers, FOREST, rounds=1).predict(rows)
    assert regressor.predict(numbers)["predicted_label"].to_pylist() == pytest.approx(expected, abs=1e-5)
    assert regressor.training_info["iteration"].to_pylist() == [0]


def test_trees_predict_and_explain_several_classes(purchases):
    tiers = pa.array(["low", "mid", "top"]).take(
        pa.array(np.digitize(purchases["score"].to_numpy(), [0.0, 3.0]), pa.int64())
    )
    table = purchases.select(["spent", "visits", "city"]).append_column("tier", tiers)
    table = table.sort_by([(name, "ascending") for name in table.column_names])
    model = train("BOOSTED_TREE_CLASSIFIER", table, input_label_cols=["tier"], **NO_SPLIT, early_stop=False)
    codes = np.array(label_codes(table["tier"].to_pylist())) - 1
    data = xgboost.DMatrix(matrix_of(table), codes)
    booster = xgboost.train(BOOSTED | {"objective": "multi:softprob", "num_class": 3}, data, ROUNDS)
    assert probabilities(model, table) == pytest.approx(booster.predict(data), abs=1e-6)
    explanation = model.explain(table.slice(0, 50))
    contributions = booster.predict(data, pred_contribs=True)[:50]
    chosen = booster.predict(data)[:50].argmax(axis=1)
    assert explanation.attributions == pytest.approx(contributions[np.arange(50), chosen, :-1], abs=1e-5)
    assert explanation.baseline == pytest.approx(contributions[np.arange(50), chosen, -1], abs=1e-5)


def test_attributions_are_those_of_xgboost(binary, numbers):
    rows = xgboost.DMatrix(matrix_of(numbers))
    model = train("BOOSTED_TREE_REGRESSOR", numbers, **NO_SPLIT, early_stop=False)
    booster = reference(numbers, BOOSTED)
    explanation = model.explain(numbers)
    contributions = booster.predict(rows, pred_contribs=True)
    assert explanation.features == ("spent", "visits", "city")
    assert explanation.attributions == pytest.approx(contributions[:, :-1], abs=1e-5)
    assert explanation.baseline == pytest.approx(contributions[:, -1], abs=1e-5)
    assert explanation.baseline + explanation.attributions.sum(axis=1) == pytest.approx(
        explanation.prediction, abs=1e-4
    )
    approximate = booster.predict(rows, pred_contribs=True, approx_contribs=True)
    assert model.explain(numbers, approximate=True).attributions == pytest.approx(approximate[:, :-1], abs=1e-5)
    assert np.abs(approximate - contributions).max() > 0.01

    model = train("BOOSTED_TREE_CLASSIFIER", binary, **NO_SPLIT, early_stop=False)
    explanation = model.explain(binary)
    log_odds = reference(binary, BOOSTED | BINARY).predict(rows, output_margin=True)
    assert explanation.prediction == pytest.approx(np.abs(log_odds), abs=1e-4)


@pytest.mark.parametrize(("trees", "approximate"), [(9, False), (10, True)])
def test_global_explanations_of_many_trees_are_approximations(numbers, trees, approximate):
    options = {"num_parallel_tree": trees, "subsample": 0.5, "max_iterations": 3}
    model = train("BOOSTED_TREE_REGRESSOR", numbers, enable_global_explain=True, **NO_SPLIT, **options)
    chosen = {
        choice: train(
            "BOOSTED_TREE_REGRESSOR",
            numbers,
            enable_global_explain=True,
            approx_global_feature_contrib=choice,
            **NO_SPLIT,
            **options,
        ).global_explanation
        for choice in (False, True)
    }
    assert model.global_explanation == chosen[approximate]
    assert chosen[False] != chosen[True]
    assert train("BOOSTED_TREE_REGRESSOR", numbers, **options).global_explanation is None


@pytest.mark.parametrize("encoding", ["LABEL_ENCODING", "ONE_HOT_ENCODING"])
def test_feature_importance_is_that_of_xgboost(binary, encoding):
    model = train("BOOSTED_TREE_CLASSIFIER", binary, category_encoding_method=encoding, **NO_SPLIT, early_stop=False)
    city = np.array(label_codes(binary["city"].to_pylist()))
    columns = [city] if encoding == "LABEL_ENCODING" else [city == code for code in (1, 2, 3)]
    data = xgboost.DMatrix(np.column_stack([matrix_of(binary)[:, :2], *columns]), binary["label"].to_numpy())
    booster = xgboost.train(BOOSTED | BINARY, data, ROUNDS)
    found = {row["feature"]: row for row in model.feature_importance().to_pylist()}
    assert list(found) == ["spent", "visits", "city"]
    weight, gain, cover = (booster.get_score(importance_type=kind) for kind in ("weight", "total_gain", "total_cover"))
    for name, keys in {"spent": ["f0"], "visits": ["f1"], "city": [f"f{2 + i}" for i in range(len(columns))]}.items():
        splits = sum(weight.get(key, 0) for key in keys)
        assert found[name]["importance_weight"] == splits
        assert found[name]["importance_gain"] == pytest.approx(sum(gain.get(key, 0) for key in keys) / splits, rel=1e-4)
        assert found[name]["importance_cover"] == pytest.approx(
            sum(cover.get(key, 0) for key in keys) / splits, rel=1e-4
        )


def test_a_feature_that_never_splits_has_no_importance(binary):
    table = binary.append_column("constant", pa.array([1.0] * binary.num_rows))
    model = train("RANDOM_FOREST_CLASSIFIER", table, num_parallel_tree=3)
    assert model.feature_importance().to_pylist()[-1] == {
        "feature": "constant", "importance_weight": 0.0, "importance_gain": 0.0, "importance_cover": 0.0,
    }  # fmt: skip


def test_zero_is_a_number_among_one_hot_columns():
    """XGBoost treats the zeros of a sparse matrix as missing values."""
    numbers = np.repeat([-1.0, 0.0, 1.0], [60, 30, 20])
    table = pa.table({"x": numbers, "city": ["a"] * 110, "label": np.where(numbers == 0.0, 10.0, numbers)})
    options = {"category_encoding_method": "ONE_HOT_ENCODING", "tree_method": "EXACT"}
    model = train("BOOSTED_TREE_REGRESSOR", table, **options, learn_rate=1.0, l2_reg=0.0)
    found = model.predict(pa.table({"x": [-0.4, 0.0, 0.4], "city": ["a"] * 3}))["predicted_label"].to_pylist()
    assert found == pytest.approx([10.0] * 3, abs=0.1)


def test_many_rows_are_predicted_in_pieces(binary):
    for encoding in ("ONE_HOT_ENCODING", "LABEL_ENCODING"):
        model = train("BOOSTED_TREE_CLASSIFIER", binary, category_encoding_method=encoding, max_iterations=3)
        found = model.predict(pa.concat_tables([binary] * 80))
        assert found.slice(79 * binary.num_rows).combine_chunks() == model.predict(binary).combine_chunks()
        assert model.predict(binary.slice(0, 0)).num_rows == 0


def test_null_and_unknown_categories_are_one(binary):
    table = binary.set_column(2, "city", pa.array([None, *binary["city"].to_pylist()[1:]], pa.string()))
    model = train("BOOSTED_TREE_CLASSIFIER", table)
    rows = pa.table({"spent": [20.0] * 2, "visits": [2] * 2, "city": [None, "Oslo"]})
    first, second = model.predict(rows)["predicted_label_probs"].to_pylist()
    assert first == second


def test_target_encoding_is_the_mean_of_the_label(binary, numbers):
    mean = {city: np.mean([row["label"] for row in numbers.to_pylist() if row["city"] == city]) for city in CITIES}
    rows = np.column_stack([matrix_of(numbers)[:, :2], [mean[city] for city in numbers["city"].to_pylist()]])
    data = xgboost.DMatrix(rows, numbers["label"].to_numpy())
    expected = xgboost.train(BOOSTED, data, ROUNDS).predict(data)
    options = {"category_encoding_method": "TARGET_ENCODING", **NO_SPLIT, "early_stop": False}
    model = train("BOOSTED_TREE_REGRESSOR", numbers, **options)
    assert model.predict(numbers)["predicted_label"].to_pylist() == pytest.approx(expected, abs=1e-5)
    unknown = model.encoder.encode(pa.table({"spent": [1.0], "visits": [1], "city": ["Oslo"]}))[0]
    assert unknown[2] == pytest.approx(np.mean(numbers["label"].to_numpy()))

    shares = {city: np.mean([row["label"] for row in binary.to_pylist() if row["city"] == city]) for city in CITIES}
    encoder = train("BOOSTED_TREE_CLASSIFIER", binary, **options).encoder
    assert encoder.encode(binary)[:, 2] == pytest.approx([shares[city] for city in binary["city"].to_pylist()])
    several = binary.set_column(3, "label", pa.array(np.arange(binary.num_rows) % 3))
    encoded = train("BOOSTED_TREE_CLASSIFIER", several, **options).encoder.encode(several)
    assert encoded[:, 2:].sum(axis=1) == pytest.approx(np.ones(binary.num_rows))
    assert encoded.shape[1] == 5


@pytest.mark.parametrize("model_type", ["BOOSTED_TREE_REGRESSOR", "BOOSTED_TREE_CLASSIFIER"])
def test_training_ends_after_the_first_iteration_without_progress(model_type, binary):
    options = {"max_iterations": 100, "learn_rate": 1.0, "min_rel_progress": 0.02}
    info = train(model_type, binary, **options).training_info
    assert info.column_names == ["training_run", "iteration", "loss", "eval_loss", "learning_rate", "duration_ms"]
    losses = np.array(info["eval_loss"].to_pylist())
    progress = 1 - losses[1:] / losses[:-1]
    assert (progress[:-1] >= 0.02).all()
    assert progress[-1] < 0.02
    assert info["iteration"].to_pylist() == list(range(len(losses)))
    assert set(info["learning_rate"].to_pylist()) == {1.0}
    assert train(model_type, binary, **options, early_stop=False).training_info.num_rows == 100
    losses = train(model_type, binary, **options, **NO_SPLIT).training_info
    assert losses["eval_loss"].null_count == losses.num_rows
    assert losses["loss"].to_pylist() == sorted(losses["loss"].to_pylist(), reverse=True)


def test_losses_are_mean_squared_error_and_log_loss(binary, numbers):
    model = train("BOOSTED_TREE_REGRESSOR", numbers)
    evaluation = model.evaluate(None).to_pylist()[0]
    assert evaluation["mean_squared_error"] == pytest.approx(model.training_info["eval_loss"][-1].as_py(), rel=1e-5)
    model = train("BOOSTED_TREE_CLASSIFIER", binary)
    evaluation = model.evaluate(None).to_pylist()[0]
    assert evaluation["log_loss"] == pytest.approx(model.training_info["eval_loss"][-1].as_py(), rel=1e-5)


@pytest.mark.parametrize("model_type", ["BOOSTED_TREE_CLASSIFIER", "BOOSTED_TREE_REGRESSOR"])
def test_a_row_of_weight_two_counts_twice(model_type, binary):
    weights = np.random.default_rng(1).integers(1, 4, binary.num_rows)
    weighted = train(
        model_type,
        binary.append_column("times", pa.array(weights.astype(float))),
        instance_weight_col="times",
        **NO_SPLIT,
        tree_method="EXACT",
    )
    repeated = train(
        model_type,
        binary.take(pa.array(np.repeat(np.arange(binary.num_rows), weights))),
        **NO_SPLIT,
        tree_method="EXACT",
    )
    name = "predicted_label"
    if model_type.endswith("CLASSIFIER"):
        assert probabilities(weighted, binary) == pytest.approx(probabilities(repeated, binary), abs=1e-4)
    else:
        expected = repeated.predict(binary)[name].to_pylist()
        assert weighted.predict(binary)[name].to_pylist() == pytest.approx(expected, abs=1e-4)
    assert weighted.feature_importance()["feature"].to_pylist() == ["spent", "visits", "city"]


def test_class_weights_are_weights_of_rows(binary):
    counts = np.bincount(binary["label"].to_numpy())
    balanced = binary.num_rows / (2 * counts)
    for option, by_class in (
        ({"auto_class_weights": True}, balanced),
        ({"class_weights": [("1", 5.0), ("0", 0.5)]}, np.array([0.5, 5.0])),
    ):
        model = train("BOOSTED_TREE_CLASSIFIER", binary, **NO_SPLIT, early_stop=False, **option)
        booster = reference(binary, BOOSTED | BINARY, weight=by_class[binary["label"].to_numpy()])
        expected = booster.predict(xgboost.DMatrix(matrix_of(binary)))
        assert probabilities(model, binary)[:, 1] == pytest.approx(expected, abs=1e-5)


def test_newer_versions_start_from_the_mean(numbers):
    table = numbers.set_column(3, "label", pa.array(numbers["label"].to_numpy() + 1000))
    means = {
        version: np.mean(train("RANDOM_FOREST_REGRESSOR", table, xgboost_version=version).predict(table)[0].to_numpy())
        for version in ("0.9", "1.1", "2.1")
    }
    actual = np.mean(table["label"].to_numpy())
    assert means["0.9"] == means["1.1"] < means["2.1"] == pytest.approx(actual, abs=0.1)


def test_trees_do_not_depend_on_the_order_of_the_rows(binary):
    shuffled = binary.take(pa.array(np.random.default_rng(3).permutation(binary.num_rows)))
    first, second = (train("RANDOM_FOREST_CLASSIFIER", table) for table in (binary, shuffled))
    assert first.predict(binary) == second.predict(binary)
    assert first.evaluate(None) == second.evaluate(None)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"booster_type": "GBLINEAR"}, "'booster_type' .* must be 'GBTREE' or 'DART', not 'GBLINEAR'"),
        ({"dropout": 0.1}, "'dropout' goes with booster_type='DART' only"),
        ({"dart_normalize_type": "TREE"}, "'dart_normalize_type' goes with booster_type='DART' only"),
        ({"tree_method": "GPU_HIST"}, "'tree_method' .* must be 'AUTO'"),
        ({"subsample": 0.0}, "'subsample' .* above 0 and of at most 1|of at most 1 .*above 0"),
        ({"max_tree_depth": 2.5}, "'max_tree_depth' .* whole number of at least 1, not 2.5"),
        ({"max_iterations": 0}, "'max_iterations' .* at least 1, not 0"),
        ({"xgboost_version": "3.0"}, "'xgboost_version' .* must be '0.9' or '1.1' or '2.1'"),
        ({"num_trials": 10}, "'num_trials' .* is not supported .* no hyperparameter tuning"),
        ({"optimizer": "ADAM"}, "'optimizer' .* is unknown"),
        ({"instance_weight_col": "weight"}, "'instance_weight_col' must name a column of numbers .* not 'weight'"),
        ({"instance_weight_col": "city"}, "'instance_weight_col' must name a column of numbers .* not 'city'"),
        ({"instance_weight_col": "label"}, "'instance_weight_col' must name a column of numbers .* not 'label'"),
        ({"instance_weight_col": "visits", "auto_class_weights": True}, "'instance_weight_col' cannot be set together"),
        ({"instance_weight_col": "negative"}, "weight column 'negative' contains"),
        ({"class_weights": [("0", 1.0)]}, "a weight for every class; it has none for \\['1'\\]"),
    ],
)
def test_options_that_do_not_fit_are_refused_by_name(binary, options, message):
    table = binary.append_column("negative", pa.array([-1.0] * binary.num_rows))
    with pytest.raises(BigQueryError, match=message) as raised:
        train("BOOSTED_TREE_CLASSIFIER", table, **options)
    assert raised.value.reason == "invalidQuery"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_parallel_tree": 1}, "'num_parallel_tree' .* at least 2"),
        ({"subsample": 1.0}, "'subsample' .* below 1"),
        ({"learn_rate": 0.1}, "'learn_rate' of model type RANDOM_FOREST_REGRESSOR is unknown"),
        ({"auto_class_weights": True}, "'auto_class_weights' of model type RANDOM_FOREST_REGRESSOR is unknown"),
    ],
)
def test_a_random_forest_has_options_of_its_own(numbers, options, message):
    with pytest.raises(BigQueryError, match=message):
        train("RANDOM_FOREST_REGRESSOR", numbers, **options)


def test_other_model_types_are_refused_by_name(rows, dataset):
    with pytest.raises(BadRequest, match="'AUTOML_CLASSIFIER' is one of BigQuery ML, but not supported") as raised:
        rows(f"CREATE MODEL {dataset}.m OPTIONS(model_type='AUTOML_CLASSIFIER') AS SELECT 1 AS x, 1 AS label")
    assert "BOOSTED_TREE_CLASSIFIER" in str(raised.value)
    with pytest.raises(BadRequest, match="'l1_reg' must be a constant, not HPARAM_RANGE"):
        rows(
            f"CREATE MODEL {dataset}.m OPTIONS(model_type='BOOSTED_TREE_CLASSIFIER', l1_reg=HPARAM_RANGE(0, 5)) AS "
            "SELECT 1 AS x, 1 AS label"
        )


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"x": [1e39, 1.0], "label": [1, 2]}, "A feature has numbers beyond 3.4e"),
        ({"x": [1.0, 2.0], "label": [1e39, 1.0]}, "The label has numbers beyond 3.4e"),
    ],
)
def test_numbers_that_xgboost_cannot_hold_are_refused(columns, message):
    with pytest.raises(BigQueryError, match=message):
        train("BOOSTED_TREE_REGRESSOR", pa.table(columns))
