"""Training data: the label, the order of the rows, and the split into training and evaluation rows."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from local_bigquery.errors import invalid_query
from local_bigquery.ml.options import Option, number, one_label, one_of, string

SPLIT_OPTIONS = (
    Option("input_label_cols", one_label),
    Option("data_split_method", one_of("AUTO_SPLIT", "RANDOM", "SEQ", "CUSTOM", "NO_SPLIT"), "AUTO_SPLIT"),
    Option("data_split_eval_fraction", number(at_least=0.0, at_most=1.0)),
    Option("data_split_col", string),
)

# AUTO_SPLIT holds out no rows below 500 rows, 20 % of the rows up to 50,000 rows, and 10,000 rows above.
# https://cloud.google.com/bigquery/docs/reference/standard-sql/bigqueryml-syntax-create-glm#data_split_method
_AUTO_NO_SPLIT_BELOW = 500
_AUTO_FRACTION = 0.2
_AUTO_FRACTION_UP_TO = 50_000
_AUTO_EVALUATION_ROWS = 10_000
_SEQUENTIAL_FRACTION = 0.2
_SPLIT_SEED = 20_180_725


@dataclass(frozen=True)
class TrainingData:
    """Rows to train on and rows to evaluate on.

    Attributes:
        label: the name of the label column.
        features: the names of the feature columns.
        training: the rows to train on.
        evaluation: the rows held out for evaluation; no rows if there is no split.
    """

    label: str
    features: tuple[str, ...]
    training: pa.Table
    evaluation: pa.Table


def find_column(table: pa.Table, name: str) -> str | None:
    """Return the name of a column as the table spells it, or None. BigQuery ignores the case of column names."""
    return next((column for column in table.column_names if column.lower() == name.lower()), None)


def prepare(rows: pa.Table, options: Mapping[str, Any]) -> TrainingData:
    """Find the label, sort the rows, and split them.

    Sorting by all columns makes the model independent of the order in which the query returns its rows.

    Args:
        rows: the result of the training query.
        options: the options of CREATE MODEL, including `SPLIT_OPTIONS`.

    Raises:
        BigQueryError: `invalidQuery` if there are no rows, the label is missing or NULL, there is no feature column, or
            the options of the split are invalid.
    """
    label = _label_column(rows, options["input_label_cols"])
    if rows.num_rows == 0:
        raise invalid_query("The training query returned no rows")
    if rows[label].null_count:
        raise invalid_query(
            f"The label column {label!r} contains {rows[label].null_count} NULL values; filter them out in the query"
        )
    split_column = _split_column(rows, options)
    features = tuple(name for name in rows.column_names if name not in (label, split_column))
    if not features:
        raise invalid_query("The training query returned no column besides the label: a model needs features")
    rows = ordered(rows)
    held_out = _held_out(rows, split_column, options)
    training = rows.filter(pa.array(~held_out))
    if training.num_rows == 0:
        raise invalid_query("The data split leaves no rows to train on")
    return TrainingData(label, features, training, rows.filter(pa.array(held_out)))


def _label_column(rows: pa.Table, named: str | None) -> str:
    label = find_column(rows, named or "label")
    if label is None and named is None:
        raise invalid_query("Unable to identify the label column: name it in input_label_cols, or call it 'label'")
    if label is None:
        raise invalid_query(
            f"The label column {named!r} of input_label_cols is not in the training query, "
            f"which returns {', '.join(rows.column_names)}"
        )
    return label


def _split_column(rows: pa.Table, options: Mapping[str, Any]) -> str | None:
    method, name = options["data_split_method"], options["data_split_col"]
    if method not in ("SEQ", "CUSTOM"):
        if name is not None:
            raise invalid_query(
                f"Option 'data_split_col' goes with data_split_method 'SEQ' or 'CUSTOM', not {method!r}"
            )
        return None
    column = find_column(rows, name) if name is not None else None
    if column is None:
        raise invalid_query(
            f"data_split_method {method!r} needs the option 'data_split_col' with a column of the training query, "
            f"not {name!r}"
        )
    return column


def ordered(rows: pa.Table) -> pa.Table:
    """Return the rows sorted by all columns. DuckDB sorts them because Arrow cannot sort arrays and structs."""
    columns = [f"c{number}" for number in range(rows.num_columns)]
    numbered = rows.rename_columns(columns).append_column("row_number", pa.array(np.arange(rows.num_rows)))
    with duckdb.connect() as connection:
        connection.register("numbered", numbered)
        order = connection.sql(f"SELECT row_number FROM numbered ORDER BY {', '.join(columns)}").fetchnumpy()
    return rows.take(pa.array(order["row_number"]))


def _held_out(
    rows: pa.Table, split_column: str | None, options: Mapping[str, Any]
) -> np.ndarray[Any, np.dtype[np.bool_]]:
    """Return the mask of the rows to hold out for evaluation."""
    count = rows.num_rows
    mask = np.zeros(count, dtype=np.bool_)
    method, fraction = options["data_split_method"], options["data_split_eval_fraction"]
    if fraction is not None and method not in ("RANDOM", "SEQ"):
        raise invalid_query(
            f"Option 'data_split_eval_fraction' goes with data_split_method 'RANDOM' or 'SEQ', not {method!r}"
        )
    match method:
        case "AUTO_SPLIT" | "RANDOM":
            size = _auto_split_size(count) if fraction is None else round(count * fraction)
            mask[_random_rows(count, size)] = True
        case "SEQ":
            mask[:] = _last(rows[split_column], _SEQUENTIAL_FRACTION if fraction is None else fraction)
        case "CUSTOM":
            column = rows[split_column]
            if not pa.types.is_boolean(column.type):
                raise invalid_query(f"data_split_col {split_column!r} must be BOOL for data_split_method 'CUSTOM'")
            mask[:] = pc.fill_null(column, fill_value=True).to_numpy()
    return mask


def _last(column: pa.ChunkedArray, fraction: float) -> pa.ChunkedArray:
    """Return the mask of a fraction of the rows with the greatest values, and of all rows equal to the least of them.

    NULL counts as the greatest value.
    """
    kept = len(column) - round(len(column) * fraction)
    if kept == len(column):
        return pc.is_null(column)
    threshold = column.take(pc.sort_indices(column)[kept : kept + 1])[0]
    if not threshold.is_valid:
        return pc.is_null(column)
    return pc.fill_null(pc.greater_equal(column, threshold), fill_value=True)


def _auto_split_size(count: int) -> int:
    if count < _AUTO_NO_SPLIT_BELOW:
        return 0
    return round(count * _AUTO_FRACTION) if count <= _AUTO_FRACTION_UP_TO else _AUTO_EVALUATION_ROWS


def _random_rows(count: int, size: int) -> np.ndarray[Any, np.dtype[np.int64]]:
    return np.random.default_rng(_SPLIT_SEED).permutation(count)[:size]
