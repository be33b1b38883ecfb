"""LINEAR_REG and LOGISTIC_REG.

Both minimise the mean loss per row + l1_reg * |w| + l2_reg / 2 * w^2, the intercept left out of the penalty, by a
deterministic solver that runs until it has converged.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa
from sklearn.linear_model import ElasticNet, LogisticRegression, Ridge

from local_stack.bigquery.errors import invalid_query
from local_stack.bigquery.models.features import FeatureEncoder
from local_stack.bigquery.models.options import Option, boolean, class_weights, number, one_of, only, whole_number
from local_stack.bigquery.models.supervised import (
    Classes,
    Classifier,
    Regressor,
    Vector,
    evaluation_rows,
    label_numbers,
)
from local_stack.bigquery.models.training_data import SPLIT_OPTIONS, prepare

_SHARED_OPTIONS = (
    *SPLIT_OPTIONS,
    Option("l1_reg", number(at_least=0.0), 0.0),
    Option("l2_reg", number(at_least=0.0), 0.0),
    Option("fit_intercept", boolean, default=True),
    Option("category_encoding_method", only("ONE_HOT_ENCODING"), "ONE_HOT_ENCODING"),
    Option("warm_start", only(choice=False), default=False),
    Option("calculate_p_values", only(choice=False), default=False),
    Option("enable_global_explain", only(choice=False), default=False),
    # How BigQuery ML walks to the optimum and when it gives up. Here the optimum is reached, so these only get checked.
    Option("max_iterations", whole_number(at_least=1)),
    Option("early_stop", boolean),
    Option("min_rel_progress", number(at_least=0.0)),
    Option("learn_rate", number(at_least=0.0)),
    Option("learn_rate_strategy", one_of("LINE_SEARCH", "CONSTANT")),
    Option("ls_init_learn_rate", number(at_least=0.0)),
    Option("optimize_strategy", one_of("AUTO_STRATEGY", "BATCH_GRADIENT_DESCENT", "NORMAL_EQUATION")),
)
LINEAR_OPTIONS = _SHARED_OPTIONS
LOGISTIC_OPTIONS = (
    *_SHARED_OPTIONS,
    Option("auto_class_weights", boolean, default=False),
    Option("class_weights", class_weights),
)

# One-hot columns add up to 1 like the intercept, and perfectly separable classes have no finite optimum. A touch of L2
# makes the optimum one point in both cases; it moves a probability by far less than 1e-4 otherwise.
_LEAST_L2 = 1e-6
_TOLERANCE = 1e-9
_MOST_ITERATIONS = 10_000


def train_linear(rows: pa.Table, options: Mapping[str, Any]) -> Regressor:
    """Train a linear regression.

    Raises:
        BigQueryError: `invalidQuery`, if the rows cannot be trained on.
    """
    data = prepare(rows, options)
    label = label_numbers(data.training, data.label)
    encoder = FeatureEncoder.fit(data.training, data.features)
    l1, l2 = options["l1_reg"], max(options["l2_reg"], _LEAST_L2)
    shared = {"fit_intercept": options["fit_intercept"], "tol": _TOLERANCE, "max_iter": _MOST_ITERATIONS}
    if l1:
        estimator = ElasticNet(alpha=l1 + l2, l1_ratio=l1 / (l1 + l2), **shared)
    else:
        estimator = Ridge(alpha=l2 * len(label), **shared)
    estimator.fit(encoder.encode(data.training), label)
    model = Regressor(encoder, data.label, estimator)
    return replace(model, evaluation=model.evaluate(evaluation_rows(data)))


def train_logistic(rows: pa.Table, options: Mapping[str, Any]) -> Classifier:
    """Train a logistic regression, multinomial if the label has more than two values.

    Raises:
        BigQueryError: `invalidQuery`, if the rows cannot be trained on.
    """
    data = prepare(rows, options)
    classes = Classes.of(data.label, data.training[data.label])
    label = classes.numbers(data.training)
    encoder = FeatureEncoder.fit(data.training, data.features)
    weights = _row_weights(label, classes, options)
    l1, l2 = options["l1_reg"], max(options["l2_reg"], _LEAST_L2)
    estimator = LogisticRegression(
        C=1.0 / ((l1 + l2) * weights.sum()),
        l1_ratio=l1 / (l1 + l2),
        solver="saga" if l1 else "lbfgs",
        fit_intercept=options["fit_intercept"],
        tol=_TOLERANCE,
        max_iter=_MOST_ITERATIONS,
        random_state=0,
    )
    estimator.fit(encoder.encode(data.training), label, sample_weight=weights)
    model = Classifier(encoder, classes, estimator)
    return replace(model, evaluation=model.evaluate(evaluation_rows(data, classes)))


def _row_weights(label: Vector, classes: Classes, options: Mapping[str, Any]) -> Vector:
    """Return a weight for every row: equal classes for `auto_class_weights`, else those given, else 1."""
    given = options["class_weights"]
    if given is not None and options["auto_class_weights"]:
        raise invalid_query("Option 'class_weights' cannot be set together with auto_class_weights=TRUE")
    if options["auto_class_weights"]:
        counts = np.bincount(label, minlength=len(classes.values))
        return np.asarray(len(label) / (len(counts) * counts))[label]
    if given is None:
        return np.ones(len(label))
    by_text = {str(value): weight for value, weight in given.items()}
    unknown = by_text.keys() - {str(value) for value in classes.values.to_pylist()}
    if unknown:
        raise invalid_query(f"Option 'class_weights' names {sorted(unknown)}, which the label never is")
    return np.array([by_text.get(str(value), 1.0) for value in classes.values.to_pylist()])[label]
