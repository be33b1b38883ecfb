"""Batch gradient descent for generalised linear models, with BigQuery ML's options.

https://cloud.google.com/bigquery/docs/reference/standard-sql/bigqueryml-syntax-create-glm#learn_rate_strategy
"""

from collections.abc import Mapping
from dataclasses import dataclass
from time import perf_counter
from typing import Any

import numpy as np
from scipy import special

from local_bigquery.errors import invalid_query
from local_bigquery.ml.features.encoding import Matrix
from local_bigquery.ml.model import Vector
from local_bigquery.ml.options import Option, boolean, number, one_of, whole_number

_positive = number(more_than=0.0)

# These options have no default, because giving one of them selects gradient descent.
DESCENT_OPTIONS = (
    Option("max_iterations", whole_number(at_least=1)),
    Option("early_stop", boolean),
    Option("min_rel_progress", number(at_least=0.0)),
    Option("learn_rate_strategy", one_of("LINE_SEARCH", "CONSTANT")),
    Option("learn_rate", _positive),
    Option("ls_init_learn_rate", _positive),
)
_MAX_ITERATIONS = 20
_MIN_REL_PROGRESS = 0.01
_LEARN_RATE = 0.1
_MAX_HALVINGS = 40


@dataclass(frozen=True)
class Objective:
    """The function to minimise: mean loss + l1 * |w| + l2 / 2 * w^2, without a penalty for the intercepts.

    Attributes:
        family: "linear" (the loss is half the squared error) or "logistic" (the loss is the log loss).
        matrix: the encoded features, (rows, columns).
        target: the label, or for each output 1 in the rows of its class and 0 in others, (rows, outputs).
        weights: the weight of every row, (rows,); the sum is 1.
        l1: the factor of the L1 penalty.
        l2: the factor of the L2 penalty.
        fit_intercept: whether there is an intercept.
    """

    family: str
    matrix: Matrix
    target: Vector
    weights: Vector
    l1: float
    l2: float
    fit_intercept: bool

    def value(self, coefficients: Vector, intercepts: Vector) -> float:
        """Return the value for coefficients, (outputs, columns), and intercepts, (outputs,); maybe inf or NaN."""
        with np.errstate(over="ignore", invalid="ignore"):
            return self._value(coefficients, intercepts)

    def _value(self, coefficients: Vector, intercepts: Vector) -> float:
        scores = self.matrix @ coefficients.T + intercepts
        penalty = self.l1 * np.abs(coefficients).sum() + self.l2 / 2 * (coefficients**2).sum()
        return float(self.weights @ self._losses(scores) + penalty)

    def gradient(self, coefficients: Vector, intercepts: Vector) -> tuple[Vector, Vector]:
        """Return the gradients for coefficients and intercepts, without that of the L1 penalty."""
        scores = self.matrix @ coefficients.T + intercepts
        errors = (self._means(scores) - self.target) * self.weights[:, np.newaxis]
        slopes = np.asarray(self.matrix.T @ errors).T + self.l2 * coefficients
        return slopes, errors.sum(axis=0) * self.fit_intercept

    def _means(self, scores: Vector) -> Vector:
        if self.family == "linear":
            return scores
        return np.asarray(special.expit(scores) if scores.shape[1] == 1 else special.softmax(scores, axis=1))

    def _losses(self, scores: Vector) -> Vector:
        if self.family == "linear":
            return np.asarray(((scores - self.target) ** 2).sum(axis=1) / 2)
        total = np.logaddexp(0.0, scores[:, 0]) if scores.shape[1] == 1 else special.logsumexp(scores, axis=1)
        return np.asarray(total - (self.target * scores).sum(axis=1))


@dataclass(frozen=True)
class Iteration:
    """The parameters after an iteration, its learning rate (None for a solver) and its duration."""

    coefficients: Vector
    intercepts: Vector
    learning_rate: float | None
    duration_ms: int


def is_requested(options: Mapping[str, Any]) -> bool:
    """Return True if CREATE MODEL gives an option of gradient descent.

    Raises:
        BigQueryError: `invalidQuery` if the options contradict each other.
    """
    if options["learn_rate"] is not None and options["learn_rate_strategy"] != "CONSTANT":
        raise invalid_query("Option 'learn_rate' needs learn_rate_strategy='CONSTANT'; with 'LINE_SEARCH' it is found")
    return any(options[option.name] is not None for option in DESCENT_OPTIONS)


def descend(objective: Objective, options: Mapping[str, Any]) -> list[Iteration]:
    """Minimise an objective, starting at zero, and return all iterations; the last one has the result.

    The line search doubles the learning rate before each iteration, and halves it until the value decreases.

    Args:
        objective: the function to minimise.
        options: the options of CREATE MODEL, including `DESCENT_OPTIONS`.

    Raises:
        BigQueryError: `invalidQuery` if a constant learning rate is too high to converge.
    """
    constant = options["learn_rate_strategy"] == "CONSTANT"
    rate = options["learn_rate"] if constant else options["ls_init_learn_rate"]
    rate = _LEARN_RATE if rate is None else rate
    outputs, columns = objective.target.shape[1], objective.matrix.shape[1]
    coefficients, intercepts = np.zeros((outputs, columns)), np.zeros(outputs)
    value = objective.value(coefficients, intercepts)
    iterations: list[Iteration] = []
    for _ in range(options["max_iterations"] or _MAX_ITERATIONS):
        started = perf_counter()
        slopes, intercept_slopes = objective.gradient(coefficients, intercepts)
        rate = rate if constant else 2 * rate
        for _ in range(1 if constant else _MAX_HALVINGS):
            moved = _shrunk(coefficients - rate * slopes, rate * objective.l1), intercepts - rate * intercept_slopes
            reached = objective.value(*moved)
            if constant or reached < value:
                break
            rate /= 2
        else:  # no step decreases the value
            moved, reached = (coefficients, intercepts), value
        if not np.isfinite(reached):
            raise invalid_query(f"Training diverges with a constant learn_rate of {rate:g}: lower it")
        progress = (value - reached) / value if value else 0.0
        (coefficients, intercepts), value = moved, reached
        iterations.append(Iteration(coefficients, intercepts, rate, round((perf_counter() - started) * 1000)))
        is_slow = options["early_stop"] is not False and progress < _least_progress(options)
        if is_slow or (progress == 0.0 and not constant):
            break
    return iterations


def _least_progress(options: Mapping[str, Any]) -> float:
    given: float | None = options["min_rel_progress"]
    return _MIN_REL_PROGRESS if given is None else given


def _shrunk(coefficients: Vector, amount: float) -> Vector:
    """Return coefficients moved towards 0 by an amount, but not beyond 0: the proximal step of the L1 penalty."""
    return np.asarray(np.sign(coefficients) * np.maximum(np.abs(coefficients) - amount, 0.0))
