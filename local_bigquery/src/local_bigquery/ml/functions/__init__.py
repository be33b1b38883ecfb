"""Table functions that take a model, such as ML.PREDICT.

https://cloud.google.com/bigquery/docs/e2e-journey
"""

import pyarrow as pa

from local_bigquery.errors import invalid_query
from local_bigquery.ml.functions import evaluation, forecasting, inspection, prediction
from local_bigquery.ml.functions.table_function import Settings, not_supported
from local_bigquery.ml.model import Model, Reducing
from local_bigquery.ml.options import read_options

TABLE_FUNCTIONS = evaluation.FUNCTIONS | forecasting.FUNCTIONS | inspection.FUNCTIONS | prediction.FUNCTIONS


def call_function(
    name: str, model: Model, rows: pa.Table | None, given: Settings, kept: pa.Table | None = None
) -> pa.Table:
    """Run ML.`name`.

    Args:
        name: the name of the function in capitals without `ML.`, accepted by `check_function`.
        model: the model.
        rows: the input, or None.
        given: the settings as written. The thresholds of ML.ROC_CURVE are a setting called `thresholds`.
        kept: the input before the TRANSFORM clause, for functions that keep the columns of the input; None if there is
            no such clause.

    Raises:
        BigQueryError: `invalidQuery` if a setting or the input is invalid, or the model type lacks the function.
    """
    function = TABLE_FUNCTIONS[name]
    settings = read_options(f"ML.{name}", function.settings, given)
    if not isinstance(model, function.takes):
        raise not_supported(f"ML.{name}", model, function.models)
    result = function.run(model, rows, settings)
    kept = rows if kept is None else kept
    if kept is None or not (function.keeps_input and function.adds_input):
        return result
    reduces = isinstance(model, Reducing)
    if reduces and not settings.get("keep_original_columns"):
        features = {feature.lower() for feature in model.feature_info["input"].to_pylist()}
        kept = kept.select([column for column in kept.column_names if column.lower() not in features])
    return _with_input(f"ML.{name}", result, kept)


def keeps_input(name: str) -> bool:
    """Return True if the result of a function has the columns of its input."""
    return TABLE_FUNCTIONS[name].keeps_input


def check_function(name: str, *, has_input: bool) -> None:
    """Check that a function exists, and has an input if it needs one and none if it takes none.

    Raises:
        BigQueryError: `invalidQuery`, naming the function, if the check fails.
    """
    function = TABLE_FUNCTIONS.get(name)
    if function is None:
        known = ", ".join(f"ML.{known}" for known in sorted(TABLE_FUNCTIONS))
        raise invalid_query(f"ML.{name} is not supported by the local BigQuery ML; it has {known}")
    if function.input == "required" and not has_input:
        raise invalid_query(f"ML.{name} needs an input: a TABLE or a (query) after the model")
    if function.input == "none" and has_input:
        raise invalid_query(f"ML.{name} takes no input: leave out the TABLE or the (query) after the model")


def _with_input(function: str, result: pa.Table, rows: pa.Table) -> pa.Table:
    """Return a result with the columns of the input appended."""
    taken = {name.lower() for name in result.column_names}
    for name in rows.column_names:
        if name.lower() in taken:
            raise invalid_query(
                f"{function}: the input has a column {name!r}, which is also the name of a result column"
            )
        result = result.append_column(name, rows[name])
    return result
