"""XGBoost: how an ensemble of trees is trained, predicts, and explains itself."""

from collections.abc import Mapping
from dataclasses import dataclass
from time import perf_counter
from typing import Any

import numpy as np
import pyarrow as pa
import xgboost
from scipy import sparse

from local_bigquery.errors import invalid_query
from local_bigquery.ml.features.encoding import Matrix
from local_bigquery.ml.model import Vector
from local_bigquery.ml.models.training_info import iterations

_SEED = 0
# Sums in one thread do not depend on the number of processors, so a model is the same on every machine. It also keeps
# training fast on a machine that is busy with something else: XGBoost's threads wait for one another without a pause.
_THREADS = 1
_ROWS_AT_ONCE = 65_536  # so that a sparse matrix is never dense as a whole

_MOST = float(np.finfo(np.float32).max)
_TRAINING, _HELD_OUT = "training", "held_out"


@dataclass(frozen=True)
class Trees:
    """A trained ensemble, with the methods of scikit-learn's estimators."""

    booster: xgboost.Booster

    def predict(self, matrix: Matrix) -> Vector:
        """Return the predicted number of every row."""
        starts = range(0, matrix.shape[0], _ROWS_AT_ONCE)
        pieces = [self.booster.inplace_predict(_dense(matrix[start : start + _ROWS_AT_ONCE])) for start in starts]
        return np.concatenate(pieces, dtype=np.float64)

    def predict_proba(self, matrix: Matrix) -> Vector:
        """Return the probability of every class for every row."""
        probabilities = self.predict(matrix)
        if probabilities.ndim == 1:
            return np.column_stack([1.0 - probabilities, probabilities])
        sums: Vector = probabilities.sum(axis=1, keepdims=True)  # not quite 1: XGBoost computes with 32 bits
        return probabilities / sums

    def contributions(self, matrix: Matrix, *, approximate: bool) -> tuple[Vector, Vector]:
        """Return the contributions of the matrix's columns by TreeSHAP, and what they are added to.

        Returns:
            Contributions, (rows, raw predictions, columns), and the expected raw predictions, (raw predictions,).
        """
        rows = xgboost.DMatrix(_dense(matrix), nthread=_THREADS)
        values = self.booster.predict(rows, pred_contribs=True, approx_contribs=approximate, strict_shape=True)
        values = np.asarray(values, dtype=np.float64)
        return values[:, :, :-1], values[0, :, -1]

    def totals(self, kind: str, width: int) -> Vector:
        """Return a score over all splits of every column of the matrix, (width,): weight, total_gain or total_cover."""
        scores = self.booster.get_score(importance_type=kind)
        return np.array([scores.get(f"f{column}", 0.0) for column in range(width)])


def examples_of(matrix: Matrix, label: Vector, weight: Vector) -> xgboost.DMatrix:
    """Return rows as XGBoost takes them for training.

    Raises:
        BigQueryError: `invalidQuery`, if a number does not fit into the 32 bits that XGBoost computes with.
    """
    if np.abs(label).max() > _MOST:
        raise invalid_query(f"The label has numbers beyond {_MOST:.1e}, which trees cannot predict: scale it")
    return xgboost.DMatrix(_dense(matrix), label, weight=weight, nthread=_THREADS)


def boost(
    training: xgboost.DMatrix,
    held_out: xgboost.DMatrix | None,
    parameters: Mapping[str, Any],
    *,
    rounds: int,
    least_progress: float | None,
) -> tuple[Trees, pa.Table]:
    """Train an ensemble.

    Args:
        training: The rows to train on.
        held_out: The rows that say when to stop; None to take those of the training.
        parameters: XGBoost's, with `eta` and `eval_metric`.
        rounds: How many there are at most.
        least_progress: The least relative improvement of the loss with which training goes on; None for none.

    Returns:
        The ensemble, and the columns of ML.TRAINING_INFO.
    """
    watched = [(training, _TRAINING)] if held_out is None else [(training, _TRAINING), (held_out, _HELD_OUT)]
    progress = _Progress(least_progress)
    booster = xgboost.train(
        {**parameters, "seed": _SEED, "nthread": _THREADS},
        training,
        rounds,
        evals=watched,
        callbacks=[progress],
        verbose_eval=False,
    )
    return Trees(booster), iterations(
        loss=progress.losses[_TRAINING],
        eval_loss=progress.losses.get(_HELD_OUT),
        learning_rate=parameters["eta"],
        duration_ms=progress.durations,
    )


class _Progress(xgboost.callback.TrainingCallback):
    """Records every iteration, and ends the training after the first one with too little progress.

    What counts is the loss on the rows held out, where there are any.

    Args:
        least: The least relative improvement of the loss with which training goes on; None for none.
    """

    def __init__(self, least: float | None) -> None:
        super().__init__()
        self._least = least
        self._start = 0.0
        self.losses: dict[str, list[float]] = {}
        self.durations: list[int] = []

    def before_iteration(self, model: Any, epoch: int, evals_log: Mapping[str, Any]) -> bool:
        """Start the clock."""
        del model, epoch, evals_log
        self._start = perf_counter()
        return False

    def after_iteration(self, model: Any, epoch: int, evals_log: Mapping[str, Any]) -> bool:
        """Record the iteration, and return whether it is the last."""
        del model, epoch
        self.durations.append(round(1000 * (perf_counter() - self._start)))
        for name, metrics in evals_log.items():
            ((metric, values),) = metrics.items()
            self.losses[name] = [value**2 for value in values] if metric == "rmse" else list(values)
        decisive = self.losses.get(_HELD_OUT, self.losses[_TRAINING])
        if self._least is None or len(decisive) == 1:
            return False
        previous, current = decisive[-2:]
        return previous - current < self._least * previous


def _dense(matrix: Matrix) -> Vector:
    """Return the matrix with all its zeros: in a sparse one, XGBoost takes a zero for a missing number.

    Raises:
        BigQueryError: `invalidQuery`, if a number does not fit into the 32 bits that XGBoost computes with.
    """
    if abs(matrix).max() > _MOST:
        raise invalid_query(f"A feature has numbers beyond {_MOST:.1e}, which trees cannot split: scale it")
    return np.asarray(matrix.astype(np.float32).toarray() if sparse.issparse(matrix) else matrix)
