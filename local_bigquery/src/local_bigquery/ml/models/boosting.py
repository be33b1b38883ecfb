"""Ensembles of trees by XGBoost: training, prediction and attributions."""

from collections.abc import Mapping
from dataclasses import dataclass
from time import perf_counter
from typing import Any

import numpy as np
import pyarrow as pa
import xgboost
from scipy import sparse

from local_bigquery.errors import invalid_query
from local_bigquery.ml.features.encoding import Matrix, dense
from local_bigquery.ml.model import Vector
from local_bigquery.ml.models.training_info import iterations

_SEED = 0
# With one thread, sums do not depend on the number of processors, so a model is the same on every machine. It is also
# faster on a busy machine, because XGBoost's threads busy-wait for each other.
_THREADS = 1
_BATCH_ROWS = 65_536  # rows of a sparse matrix that are made dense at a time

_MAX = float(np.finfo(np.float32).max)
_TRAINING, _HELD_OUT = "training", "held_out"


@dataclass(frozen=True)
class Trees:
    """A trained ensemble, with the methods of scikit-learn's estimators."""

    booster: xgboost.Booster

    def predict(self, matrix: Matrix) -> Vector:
        """Return the predicted number of every row."""
        starts = range(0, matrix.shape[0], _BATCH_ROWS)
        pieces = [self.booster.inplace_predict(_as_float32(matrix[start : start + _BATCH_ROWS])) for start in starts]
        return np.concatenate(pieces, dtype=np.float64)

    def predict_proba(self, matrix: Matrix) -> Vector:
        """Return the probability of every class for every row."""
        probabilities = self.predict(matrix)
        if probabilities.ndim == 1:
            return np.column_stack([1.0 - probabilities, probabilities])
        sums: Vector = probabilities.sum(axis=1, keepdims=True)  # not quite 1: XGBoost computes with 32 bits
        return probabilities / sums

    def contributions(self, matrix: Matrix, *, approximate: bool) -> tuple[Vector, Vector]:
        """Return the contributions of the matrix's columns to the raw predictions, by TreeSHAP.

        Returns:
            The contributions, (rows, raw predictions, columns), and the expected raw predictions, (raw predictions,).
        """
        rows = xgboost.DMatrix(_as_float32(matrix), nthread=_THREADS)
        values = self.booster.predict(rows, pred_contribs=True, approx_contribs=approximate, strict_shape=True)
        values = np.asarray(values, dtype=np.float64)
        return values[:, :, :-1], values[0, :, -1]

    def totals(self, kind: str, width: int) -> Vector:
        """Return a score of every column of the matrix over all splits, (width,).

        Args:
            kind: `weight`, `total_gain` or `total_cover`.
            width: the number of columns.
        """
        scores = self.booster.get_score(importance_type=kind)
        return np.array([scores.get(f"f{column}", 0.0) for column in range(width)])


def examples_of(matrix: Matrix, label: Vector, weight: Vector) -> xgboost.DMatrix:
    """Return rows in XGBoost's form for training.

    Raises:
        BigQueryError: `invalidQuery` if a number does not fit into XGBoost's 32 bits.
    """
    if np.abs(label).max() > _MAX:
        raise invalid_query(f"The label has numbers beyond {_MAX:.1e}, which trees cannot predict: scale it")
    return xgboost.DMatrix(_as_float32(matrix), label, weight=weight, nthread=_THREADS)


def boost(
    training: xgboost.DMatrix,
    held_out: xgboost.DMatrix | None,
    parameters: Mapping[str, Any],
    *,
    rounds: int,
    min_progress: float | None,
) -> tuple[Trees, pa.Table]:
    """Train an ensemble.

    Args:
        training: the rows to train on.
        held_out: the evaluation rows, whose loss decides about early stopping; None to use the training rows.
        parameters: the parameters of XGBoost, including `eta` and `eval_metric`.
        rounds: the maximum number of iterations.
        min_progress: the relative decrease of the loss below which training stops; None to train all rounds.

    Returns:
        The ensemble, and the result of ML.TRAINING_INFO.
    """
    watched = [(training, _TRAINING)] if held_out is None else [(training, _TRAINING), (held_out, _HELD_OUT)]
    progress = _Progress(min_progress)
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
    """Records every iteration, and stops the training after the first one with too little progress.

    Args:
        min_progress: the relative decrease of the loss below which training stops; None to train all rounds.
    """

    def __init__(self, min_progress: float | None) -> None:
        super().__init__()
        self._min_progress = min_progress
        self._start = 0.0
        self.losses: dict[str, list[float]] = {}
        self.durations: list[int] = []

    def before_iteration(self, model: Any, epoch: int, evals_log: Mapping[str, Any]) -> bool:
        """Start the clock."""
        del model, epoch, evals_log
        self._start = perf_counter()
        return False

    def after_iteration(self, model: Any, epoch: int, evals_log: Mapping[str, Any]) -> bool:
        """Record the iteration; return True to stop the training."""
        del model, epoch
        self.durations.append(round(1000 * (perf_counter() - self._start)))
        for name, metrics in evals_log.items():
            ((metric, values),) = metrics.items()
            self.losses[name] = [value**2 for value in values] if metric == "rmse" else list(values)
        decisive = self.losses.get(_HELD_OUT, self.losses[_TRAINING])
        if self._min_progress is None or len(decisive) == 1:
            return False
        previous, current = decisive[-2:]
        return previous - current < self._min_progress * previous


def _as_float32(matrix: Matrix) -> Vector:
    """Return a matrix as a dense array of 32-bit numbers. In a sparse one, XGBoost would take a zero for missing.

    Raises:
        BigQueryError: `invalidQuery` if a number does not fit into 32 bits.
    """
    if abs(matrix).max() > _MAX:
        raise invalid_query(f"A feature has numbers beyond {_MAX:.1e}, which trees cannot split: scale it")
    return dense(matrix.astype(np.float32) if sparse.issparse(matrix) else matrix)
