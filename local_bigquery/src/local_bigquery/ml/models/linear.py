"""The model types LINEAR_REG and LOGISTIC_REG.

Both minimise the mean loss per row + l1_reg * |w| + l2_reg / 2 * w^2, without a penalty for the intercept: by a
deterministic solver that runs until it converges, or by gradient descent if the options request it.
https://cloud.google.com/bigquery/docs/reference/standard-sql/bigqueryml-syntax-create-glm
https://cloud.google.com/bigquery/docs/reference/standard-sql/bigqueryml-syntax-weights
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from time import perf_counter
from typing import Any

import numpy as np
import pyarrow as pa
from scipy import special
from sklearn import metrics
from sklearn.linear_model import ElasticNet, LinearRegression, LogisticRegression, Ridge

from local_bigquery.errors import invalid_query
from local_bigquery.ml.features.encoding import DUMMY, ONE_HOT, FeatureEncoder, Matrix, NumericEncoding, category_names
from local_bigquery.ml.features.statistics import describe
from local_bigquery.ml.features.training_data import SPLIT_OPTIONS, prepare
from local_bigquery.ml.model import ModelType, Vector
from local_bigquery.ml.models.class_weights import CLASS_WEIGHT_OPTIONS, class_weights_of
from local_bigquery.ml.models.gradient_descent import (
    DESCENT_OPTIONS,
    Iteration,
    Objective,
    descend,
    is_requested,
)
from local_bigquery.ml.models.supervised import (
    Classes,
    Classifier,
    Regressor,
    Supervised,
    complete,
    evaluation_rows,
    label_numbers,
)
from local_bigquery.ml.models.training_info import iterations
from local_bigquery.ml.options import Option, boolean, number, one_of, only

_LINEAR_OPTIONS = (
    *SPLIT_OPTIONS,
    Option("l1_reg", number(at_least=0.0), 0.0),
    Option("l2_reg", number(at_least=0.0), 0.0),
    Option("fit_intercept", boolean, default=True),
    Option("category_encoding_method", one_of(ONE_HOT, DUMMY), ONE_HOT),
    Option("enable_global_explain", boolean, default=False),
    Option("optimize_strategy", one_of("AUTO_STRATEGY", "BATCH_GRADIENT_DESCENT", "NORMAL_EQUATION"), "AUTO_STRATEGY"),
    *DESCENT_OPTIONS,
    Option("warm_start", only(choice=False), default=False),
    Option("calculate_p_values", only(choice=False), default=False),
)
_LOGISTIC_OPTIONS = (*_LINEAR_OPTIONS, *CLASS_WEIGHT_OPTIONS)

# One-hot columns are collinear with the intercept, and perfectly separable classes have no finite optimum. A little L2
# regularisation makes the optimum of a logistic regression unique. It changes probabilities by far less than 1e-4.
_MIN_L2 = 1e-6
_TOLERANCE = 1e-9
_EXACT = 1e-14
_MAX_ITERATIONS = 10_000
_INTERCEPT = "__INTERCEPT__"
_WEIGHTS = pa.schema(
    [
        ("processed_input", pa.string()),
        ("weight", pa.float64()),
        ("category_weights", pa.list_(pa.struct([("category", pa.string()), ("weight", pa.float64())]))),
    ]
)


@dataclass(frozen=True)
class LinearEstimator:
    """The parameters of a linear model, with the attributes and methods of scikit-learn's estimators.

    Attributes:
        coef_: the weights, (raw predictions, encoded columns). A regression and two classes have one raw prediction.
        intercept_: the intercepts, (raw predictions,).
    """

    coef_: Vector
    intercept_: Vector

    def predict(self, matrix: Matrix) -> Vector:
        """Return the predicted number of every row."""
        return np.asarray((matrix @ self.coef_.T + self.intercept_)[:, 0])

    def predict_proba(self, matrix: Matrix) -> Vector:
        """Return the probability of every class for every row."""
        scores = matrix @ self.coef_.T + self.intercept_
        if scores.shape[1] > 1:
            return np.asarray(special.softmax(scores, axis=1))
        positive = special.expit(scores[:, 0])
        return np.column_stack([1.0 - positive, positive])


class LinearModel(Supervised):
    """The common part of linear models."""

    estimator: LinearEstimator
    class_labels: Any  # only of a `LinearClassifier`

    def attributions(self, matrix: Matrix, *, approximate: bool = False) -> tuple[Vector, Vector]:
        """Return weight * value, summed by column; the baseline is the intercept."""
        if approximate:
            raise invalid_query("approx_feature_contrib only applies to boosted tree and random forest models")
        weights = self.estimator.coef_
        totals = np.zeros((matrix.shape[0], len(weights), len(self.columns)))
        for feature, span in self.encoder.spans():
            totals[:, :, self.columns.index(feature.column)] += matrix[:, span] @ weights[:, span].T
        return totals, self.estimator.intercept_

    def weights(self, *, standardize: bool) -> pa.Table:
        """Return a row for every feature and one for the intercept; with more than two classes, for each class."""
        tables = [
            _weights(self.encoder, weights, intercept, standardize=standardize)
            for weights, intercept in zip(self.estimator.coef_, self.estimator.intercept_, strict=True)
        ]
        if len(tables) == 1:
            return tables[0]
        return pa.concat_tables(
            table.append_column("class_label", pa.array([label] * table.num_rows, pa.string()))
            for table, label in zip(tables, self.class_labels.cast(pa.string()).to_pylist(), strict=True)
        )


class LinearRegressor(LinearModel, Regressor):
    """A linear regression."""


class LinearClassifier(LinearModel, Classifier):
    """A logistic regression."""


def _weights(encoder: FeatureEncoder, weights: Vector, intercept: float, *, standardize: bool) -> pa.Table:
    """Return the result of ML.WEIGHTS for one raw prediction."""
    rows = []
    for feature, span in encoder.spans():
        row: dict[str, Any] = {"processed_input": feature.name, "weight": None, "category_weights": []}
        if isinstance(encoding := feature.encoding, NumericEncoding):
            weight = float(weights[span][0]) / encoding.scale
            intercept -= weight * encoding.offset
            if standardize:
                intercept += weight * encoding.mean
                weight *= encoding.deviation or 1.0
            row["weight"] = weight
        else:
            row["category_weights"] = [
                {"category": name, "weight": float(weights[span][position])}
                for position, name in category_names(encoding)
            ]
        rows.append(row)
    rows.append({"processed_input": _INTERCEPT, "weight": float(intercept), "category_weights": []})
    return pa.Table.from_pylist(rows, schema=_WEIGHTS)


def train_linear(rows: pa.Table, options: Mapping[str, Any]) -> LinearRegressor:
    """Train a linear regression; see `model.ModelType`."""
    strategy, requested = options["optimize_strategy"], is_requested(options)
    # BigQuery ML documents that it solves the normal equation by default, unless there is L1 regularisation.
    descends = strategy == "BATCH_GRADIENT_DESCENT" or (requested and options["l1_reg"] > 0.0)
    if strategy == "NORMAL_EQUATION" and options["l1_reg"]:
        raise invalid_query("Option 'optimize_strategy' cannot be 'NORMAL_EQUATION' together with l1_reg")
    data = prepare(rows, options)
    label = label_numbers(data.training, data.label)
    encoder = FeatureEncoder.fit(data.training, data.features, categories=options["category_encoding_method"])
    matrix = encoder.encode(data.training)
    steps = _descended("linear", matrix, label[:, np.newaxis], options) if descends else _solved(matrix, label, options)

    held_out = data.evaluation
    info = _training_info(
        steps,
        lambda estimator, rows_matrix, numbers: metrics.mean_squared_error(numbers, estimator.predict(rows_matrix)),
        (matrix, label),
        (encoder.encode(held_out), label_numbers(held_out, data.label)) if held_out.num_rows else None,
    )
    model = LinearRegressor(
        model_type="LINEAR_REG",
        encoder=encoder,
        estimator=_estimator(steps[-1]),
        training_info=info,
        feature_info=describe(rows, data.features),
        label=data.label,
    )
    return complete(model, data, options)


def train_logistic(rows: pa.Table, options: Mapping[str, Any]) -> LinearClassifier:
    """Train a logistic regression, multinomial if the label has more than two values; see `model.ModelType`."""
    if options["optimize_strategy"] == "NORMAL_EQUATION":
        raise invalid_query("Option 'optimize_strategy' can only be 'NORMAL_EQUATION' for model type LINEAR_REG")
    descends = is_requested(options) or options["optimize_strategy"] == "BATCH_GRADIENT_DESCENT"
    data = prepare(rows, options)
    classes = Classes.of(data.label, data.training[data.label])
    label = classes.numbers(data.training)
    encoder = FeatureEncoder.fit(data.training, data.features, categories=options["category_encoding_method"])
    matrix = encoder.encode(data.training)
    weights = class_weights_of(label, classes, options)[label]
    every = np.arange(len(classes.values))
    if descends:
        target = (label[:, np.newaxis] == (every[1:] if classes.are_binary else every)).astype(np.float64)
        steps = _descended("logistic", matrix, target, options, weights)
    else:
        steps = _solved_logistic(matrix, label, options, weights)

    held_out = evaluation_rows(data, classes)
    info = _training_info(
        steps,
        lambda estimator, rows_matrix, numbers: metrics.log_loss(
            numbers, estimator.predict_proba(rows_matrix), labels=every
        ),
        (matrix, label),
        (encoder.encode(held_out), classes.numbers(held_out)) if data.evaluation.num_rows else None,
    )
    model = LinearClassifier(
        model_type="LOGISTIC_REG",
        encoder=encoder,
        estimator=_estimator(steps[-1]),
        training_info=info,
        feature_info=describe(rows, data.features),
        classes=classes,
    )
    return complete(model, data, options)


def _descended(
    family: str, matrix: Matrix, target: Vector, options: Mapping[str, Any], weights: Vector | None = None
) -> list[Iteration]:
    weights = np.ones(len(target)) if weights is None else weights
    objective = Objective(
        family, matrix, target, weights / weights.sum(), options["l1_reg"], options["l2_reg"], options["fit_intercept"]
    )
    return descend(objective, options)


def _solved(matrix: Matrix, label: Vector, options: Mapping[str, Any]) -> list[Iteration]:
    """Return the optimum of a linear regression as one iteration.

    Without a penalty, it is the least-squares solution with the smallest weights.
    """
    l1, l2 = options["l1_reg"], options["l2_reg"]
    shared = {"fit_intercept": options["fit_intercept"]}
    started = perf_counter()
    if l1:
        estimator = ElasticNet(
            alpha=l1 + l2, l1_ratio=l1 / (l1 + l2), tol=_TOLERANCE, max_iter=_MAX_ITERATIONS, **shared
        )
    elif l2:
        estimator = Ridge(alpha=l2 * len(label), tol=_TOLERANCE, max_iter=_MAX_ITERATIONS, **shared)
    else:
        estimator = LinearRegression(tol=_EXACT, **shared)
    estimator.fit(matrix, label)
    return [_iteration(estimator, started)]


def _solved_logistic(matrix: Matrix, label: Vector, options: Mapping[str, Any], weights: Vector) -> list[Iteration]:
    """Return the optimum of a logistic regression as one iteration."""
    l1, l2 = options["l1_reg"], max(options["l2_reg"], _MIN_L2)
    started = perf_counter()
    estimator = LogisticRegression(
        C=1.0 / ((l1 + l2) * weights.sum()),
        l1_ratio=l1 / (l1 + l2),
        solver="saga" if l1 else "lbfgs",
        fit_intercept=options["fit_intercept"],
        tol=_TOLERANCE,
        max_iter=_MAX_ITERATIONS,
        random_state=0,
    )
    estimator.fit(matrix, label, sample_weight=weights)
    return [_iteration(estimator, started)]


def _iteration(estimator: Any, started: float) -> Iteration:
    coefficients = np.atleast_2d(estimator.coef_)
    intercepts = np.broadcast_to(estimator.intercept_, len(coefficients))
    return Iteration(coefficients, intercepts, None, round((perf_counter() - started) * 1000))


def _estimator(step: Iteration) -> LinearEstimator:
    return LinearEstimator(step.coefficients, step.intercepts)


def _training_info(
    steps: Sequence[Iteration],
    loss: Callable[[LinearEstimator, Matrix, Vector], float],
    training: tuple[Matrix, Vector],
    held_out: tuple[Matrix, Vector] | None,
) -> pa.Table:
    """Return the result of ML.TRAINING_INFO.

    Args:
        steps: the iterations of the training.
        loss: returns the loss for a matrix and its labels.
        training: matrix and labels of the training rows.
        held_out: matrix and labels of the rows held out; None if there are none.
    """
    estimators = [_estimator(step) for step in steps]
    return iterations(
        loss=[loss(estimator, *training) for estimator in estimators],
        eval_loss=None if held_out is None else [loss(estimator, *held_out) for estimator in estimators],
        learning_rate=[step.learning_rate for step in steps],
        duration_ms=[step.duration_ms for step in steps],
    )


LINEAR_REG = ModelType("LINEAR_REG", "LINEAR_REGRESSION", _LINEAR_OPTIONS, train_linear)
LOGISTIC_REG = ModelType("LOGISTIC_REG", "LOGISTIC_REGRESSION", _LOGISTIC_OPTIONS, train_logistic)
