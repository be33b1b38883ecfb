"""The table functions that take a model: ML.PREDICT and ML.EVALUATE.

https://cloud.google.com/bigquery/docs/reference/standard-sql/bigqueryml-syntax-predict
https://cloud.google.com/bigquery/docs/reference/standard-sql/bigqueryml-syntax-evaluate
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from local_stack.bigquery.errors import invalid_query
from local_stack.bigquery.models import Model
from local_stack.bigquery.models.options import Option, Reader, boolean, number, read_options

Settings = Mapping[str, Any]


@dataclass(frozen=True)
class TableFunction:
    """A table function.

    Attributes:
        run: Computes the result from the model, the input (None if there is none) and the settings.
        settings: What its STRUCT may hold.
        input_required: Whether it cannot do without an input.
    """

    run: Callable[[Model, pa.Table | None, Settings], pa.Table]
    settings: tuple[Option, ...]
    input_required: bool


def call_function(name: str, model: Model, rows: pa.Table | None, given: Settings) -> pa.Table:
    """Run ML.`name`.

    Args:
        name: The function's name in capitals, without `ML.`; one that `check_function` has let pass.
        model: The model.
        rows: The input, or None.
        given: The settings as written.

    Raises:
        BigQueryError: `invalidQuery`, if a setting or the input does not fit.
    """
    function = TABLE_FUNCTIONS[name]
    return function.run(model, rows, read_options(f"ML.{name}", function.settings, given))


def check_function(name: str, *, has_input: bool) -> None:
    """Check that a function exists and has the input it needs.

    Raises:
        BigQueryError: `invalidQuery`, naming the function.
    """
    function = TABLE_FUNCTIONS.get(name)
    if function is None:
        known = ", ".join(f"ML.{known}" for known in sorted(TABLE_FUNCTIONS))
        raise invalid_query(f"ML.{name} is not supported by the local BigQuery ML; it has {known}")
    if function.input_required and not has_input:
        raise invalid_query(f"ML.{name} needs an input: a TABLE or a (query) after the model")


def _predict(model: Model, rows: pa.Table | None, settings: Settings) -> pa.Table:
    """Return the prediction columns, then the input's columns."""
    if rows is None:
        raise TypeError("ML.PREDICT without an input was let pass")
    result = model.predict(rows, settings["threshold"])
    if not settings["keep_original_columns"]:
        return result
    for name in rows.column_names:
        if name in result.column_names:
            raise invalid_query(
                f"ML.PREDICT: the input has a column {name!r}, which is also the name of a result column"
            )
        result = result.append_column(name, rows[name])
    return result


def _evaluate(model: Model, rows: pa.Table | None, settings: Settings) -> pa.Table:
    """Return one row of metrics: on the input, or without one those computed at the end of training."""
    if rows is not None:
        metrics = model.evaluate(rows, settings["threshold"])
    elif settings["threshold"] is None and model.evaluation is not None:
        metrics = model.evaluation
    else:
        raise invalid_query("ML.EVALUATE: a threshold needs an input to evaluate")
    return pa.table({name: pa.array([value], pa.float64()) for name, value in metrics.items()})


_probability: Reader = number(at_least=0.0, at_most=1.0)

TABLE_FUNCTIONS = {
    "PREDICT": TableFunction(
        run=_predict,
        settings=(Option("threshold", _probability), Option("keep_original_columns", boolean, default=True)),
        input_required=True,
    ),
    "EVALUATE": TableFunction(run=_evaluate, settings=(Option("threshold", _probability),), input_required=False),
}
