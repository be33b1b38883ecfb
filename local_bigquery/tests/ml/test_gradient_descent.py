"""The options of gradient descent work as BigQuery ML documents; without them a solver finds the optimum."""

import numpy as np
import pyarrow as pa
import pytest
from sklearn import linear_model

from local_bigquery.errors import BigQueryError
from local_bigquery.ml.model_types import model_type_of


@pytest.fixture(scope="module")
def table():
    """800 rows of standardised numbers with a number, a binary and a ternary label that depend on them."""
    random = np.random.default_rng(0)
    numbers = random.normal(size=(800, 2))
    numbers = (numbers - numbers.mean(axis=0)) / numbers.std(axis=0)
    score = numbers @ [1.0, -2.0] + random.logistic(size=800)
    return pa.table(
        {
            "x": numbers[:, 0],
            "z": numbers[:, 1],
            "number": score,
            "binary": (score > 0).astype(int),
            "ternary": np.digitize(score, [-1, 1]),
        }
    )


def train(table, label, **options):
    name = "LINEAR_REG" if label == "number" else "LOGISTIC_REG"
    shared = {"model_type": name, "input_label_cols": [label], "data_split_method": "NO_SPLIT"}
    model_type, complete = model_type_of({**shared, **options})
    return model_type.train(table.select(["x", "z", label]), complete)


def coefficients(model):
    return np.column_stack([model.estimator.coef_, model.estimator.intercept_])


THOROUGH = {"max_iterations": 500, "early_stop": False, "optimize_strategy": "BATCH_GRADIENT_DESCENT"}


@pytest.mark.parametrize("penalty", [{}, {"l2_reg": 0.1}, {"l1_reg": 0.1}, {"l1_reg": 0.05, "l2_reg": 0.05}])
@pytest.mark.parametrize("label", ["number", "binary", "ternary"])
@pytest.mark.parametrize("fit_intercept", [True, False])
def test_gradient_descent_reaches_the_optimum_that_is_solved_for(table, label, penalty, fit_intercept):
    options = {**penalty, "fit_intercept": fit_intercept}
    solved, descended = train(table, label, **options), train(table, label, **options, **THOROUGH)
    matrix = solved.encoder.encode(table)
    predictions = [
        model.estimator.predict(matrix) if label == "number" else model.estimator.predict_proba(matrix)
        for model in (solved, descended)
    ]
    assert predictions[1] == pytest.approx(predictions[0], abs=1e-3)


def test_the_optimum_is_that_of_scikit_learn_with_weights_of_classes(table):
    weights = [("0", 1.0), ("1", 3.0)]
    model = train(table, "binary", l2_reg=0.01, class_weights=weights, **THOROUGH)
    total = sum(3.0 if label else 1.0 for label in table["binary"].to_pylist())
    reference = linear_model.LogisticRegression(C=1 / (0.01 * total), class_weight={0: 1.0, 1: 3.0}, tol=1e-10)
    matrix = np.column_stack([table["x"], table["z"]])
    reference.fit(matrix, table["binary"].to_numpy())
    expected = np.column_stack([reference.coef_, reference.intercept_])
    assert coefficients(model) == pytest.approx(expected, abs=1e-4)


def test_a_constant_learn_rate_is_the_length_of_each_step(table):
    options = {"learn_rate_strategy": "CONSTANT", "learn_rate": 0.5, "max_iterations": 1}
    model = train(table, "binary", **options)
    matrix, label = np.column_stack([table["x"], table["z"], np.ones(800)]), table["binary"].to_numpy()
    assert coefficients(model)[0] == pytest.approx(-0.5 * matrix.T @ (0.5 - label) / 800)
    assert model.training_info["learning_rate"].to_pylist() == [0.5]


def test_the_line_search_doubles_the_learn_rate_while_that_gains(table):
    info = train(table, "binary", ls_init_learn_rate=0.05, max_iterations=4, early_stop=False).training_info
    assert info["learning_rate"].to_pylist() == [0.1, 0.2, 0.4, 0.8]
    assert info["iteration"].to_pylist() == [0, 1, 2, 3]
    losses = info["loss"].to_pylist()
    assert sorted(losses, reverse=True) == losses
    assert losses[0] < np.log(2)


def test_training_stops_early_unless_told_otherwise(table):
    options = {"learn_rate_strategy": "CONSTANT", "learn_rate": 1.0}
    losses = np.array(train(table, "binary", **options, min_rel_progress=0.02).training_info["loss"])
    progress = 1 - losses[1:] / losses[:-1]
    assert len(progress) > 2
    assert progress[-1] < 0.02
    assert (progress[:-1] >= 0.02).all()
    options |= {"early_stop": False}
    assert train(table, "binary", **options).training_info.num_rows == 20


@pytest.mark.parametrize(
    ("options", "iterations"), [({}, 1), ({"l1_reg": 0.01}, 1), ({"optimize_strategy": "NORMAL_EQUATION"}, 1)]
)
def test_what_is_solved_for_is_one_iteration_without_a_learn_rate(table, options, iterations):
    info = train(table, "number", **options).training_info
    assert info.num_rows == iterations
    assert info["learning_rate"].to_pylist() == [None]


def test_a_linear_regression_is_solved_for_unless_its_options_ask_for_more(table):
    assert train(table, "number", max_iterations=3).training_info.num_rows == 1
    assert train(table, "number", max_iterations=3, early_stop=False, l1_reg=0.1).training_info.num_rows == 3
    strategy = {"optimize_strategy": "BATCH_GRADIENT_DESCENT"}
    assert train(table, "number", max_iterations=3, early_stop=False, **strategy).training_info.num_rows == 3


def test_a_learn_rate_that_is_too_high_is_said_to_be(table):
    options = {"learn_rate_strategy": "CONSTANT", "learn_rate": 1e6, "max_iterations": 100, "early_stop": False}
    with pytest.raises(BigQueryError, match="diverges with a constant learn_rate of 1e"):
        train(table, "number", optimize_strategy="BATCH_GRADIENT_DESCENT", **options)


def test_the_category_that_dummy_encoding_drops_has_no_weight(rows, dataset, customers):
    rows(
        f"CREATE MODEL {dataset}.m OPTIONS(model_type='LOGISTIC_REG', category_encoding_method='DUMMY_ENCODING', "
        f"input_label_cols=['bought'], data_split_method='NO_SPLIT') "
        f"AS SELECT IFNULL(city, 'none') AS city, bought FROM {customers}"
    )
    (row,) = rows(f"SELECT category_weights FROM ML.WEIGHTS(MODEL {dataset}.m) WHERE processed_input = 'city'")
    weights = {entry["category"]: entry["weight"] for entry in row["category_weights"]}
    (most,) = rows(f"""
        SELECT IFNULL(city, 'none') AS city FROM {customers} GROUP BY 1 ORDER BY COUNT(*) DESC, city LIMIT 1""")
    assert [city for city, weight in weights.items() if weight == 0.0] == [most["city"]]


def test_training_info_shows_the_iterations_of_a_statement(rows, dataset, customers):
    rows(
        f"CREATE MODEL {dataset}.m OPTIONS(model_type='LOGISTIC_REG', max_iterations=5, early_stop=FALSE, "
        f"input_label_cols=['bought']) AS SELECT recency, frequency, bought FROM {customers}"
    )
    info = rows(f"SELECT * FROM ML.TRAINING_INFO(MODEL {dataset}.m) ORDER BY iteration")
    assert [row["iteration"] for row in info] == [0, 1, 2, 3, 4]
    assert all(row["eval_loss"] is not None and row["learning_rate"] > 0 for row in info)
    assert info[-1]["loss"] < info[0]["loss"]
