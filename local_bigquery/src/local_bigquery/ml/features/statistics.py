"""Statistics of the columns of the training query: the result of ML.FEATURE_INFO.

https://cloud.google.com/bigquery/docs/reference/standard-sql/bigqueryml-syntax-feature
"""

from collections.abc import Sequence
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from local_bigquery.ml.features.encoding import as_float64, is_numeric

_SCHEMA = pa.schema(
    [
        ("input", pa.string()),
        ("min", pa.float64()),
        ("max", pa.float64()),
        ("mean", pa.float64()),
        ("median", pa.float64()),
        ("stddev", pa.float64()),
        ("category_count", pa.int64()),
        ("null_count", pa.int64()),
        ("dimension", pa.int64()),
    ]
)


def describe(rows: pa.Table, columns: Sequence[str]) -> pa.Table:
    """Return a row for each column, with the statistics that its type has.

    Args:
        rows: the result of the training query, including the rows held out for evaluation.
        columns: the feature columns.
    """
    return pa.Table.from_pylist([_describe(name, rows[name]) for name in columns], schema=_SCHEMA)


def _describe(name: str, column: pa.ChunkedArray) -> dict[str, Any]:
    row: dict[str, Any] = {"input": name, "null_count": column.null_count}
    column_type = column.type
    if is_numeric(column_type):
        row |= _statistics(as_float64(column))
    elif pa.types.is_list(column_type):
        elements = pc.list_flatten(column)
        if pa.types.is_struct(elements.type):
            row["dimension"] = (pc.max(pc.struct_field(elements, [0])).as_py() or -1) + 1
        elif not is_numeric(elements.type):
            row["category_count"] = pc.count_distinct(elements).as_py()
    elif not pa.types.is_struct(column_type) and not (pa.types.is_timestamp(column_type) and column_type.tz):
        row["category_count"] = pc.count_distinct(column).as_py()
    return row


def _statistics(numbers: pa.ChunkedArray) -> dict[str, float | None]:
    bounds = pc.min_max(numbers)
    return {
        "min": bounds["min"].as_py(),
        "max": bounds["max"].as_py(),
        "mean": pc.mean(numbers).as_py(),
        "median": pc.quantile(numbers, 0.5)[0].as_py(),
        "stddev": pc.stddev(numbers, ddof=1).as_py(),
    }
