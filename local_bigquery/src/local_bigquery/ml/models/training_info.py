"""The result of ML.TRAINING_INFO for models that predict a label.

https://cloud.google.com/bigquery/docs/reference/standard-sql/bigqueryml-syntax-train
"""

from collections.abc import Sequence

import pyarrow as pa


def iterations(
    *,
    loss: Sequence[float | None],
    duration_ms: Sequence[int],
    eval_loss: Sequence[float] | None = None,
    learning_rate: Sequence[float | None] | float | None = None,
) -> pa.Table:
    """Return a row for every iteration of a training.

    Args:
        loss: the loss on the training rows after each iteration; None for a type without a loss.
        duration_ms: the duration of each iteration in milliseconds.
        eval_loss: the loss on the evaluation rows; None if there is no split.
        learning_rate: the learning rate of each iteration, or of all; None if the training has no learning rate.
    """
    count = len(loss)
    learning_rates = learning_rate if isinstance(learning_rate, Sequence) else [learning_rate] * count
    return pa.table(
        {
            "training_run": pa.array([0] * count, pa.int64()),
            "iteration": pa.array(range(count), pa.int64()),
            "loss": pa.array(loss, pa.float64()),
            "eval_loss": pa.array([None] * count if eval_loss is None else eval_loss, pa.float64()),
            "learning_rate": pa.array(learning_rates, pa.float64()),
            "duration_ms": pa.array(duration_ms, pa.int64()),
        }
    )
