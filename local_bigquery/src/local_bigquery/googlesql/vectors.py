"""Functions of Python in DuckDB."""

from collections.abc import Callable
from typing import Any

import pyarrow as pa

_ARROW_TYPES = {
    "VARCHAR": pa.string(),
    "BIGINT": pa.int64(),
    "TIMESTAMP": pa.timestamp("us"),
    "TIMESTAMP WITH TIME ZONE": pa.timestamp("us", tz="UTC"),
}


def create(connection: Any, name: str, function: Callable[..., Any], arguments: list[str], result: str) -> None:
    """Create a function in a database. It is called for rows without NULL; the result of the others is NULL.

    Args:
        connection: the database.
        name: the name of the function.
        function: computes a value from the values of a row.
        arguments: DuckDB's types of the arguments.
        result: DuckDB's type of the result.
    """

    def compute(*columns: pa.ChunkedArray) -> pa.Array:
        rows = zip(*(column.to_pylist() for column in columns), strict=True)
        return pa.array([None if None in row else function(*row) for row in rows], _ARROW_TYPES[result])

    # DuckDB counts the parameters of the function that it is given.
    by_count = {
        1: lambda a: compute(a),  # noqa: PLW0108  see above
        2: lambda a, b: compute(a, b),  # noqa: PLW0108
        3: lambda a, b, c: compute(a, b, c),  # noqa: PLW0108
    }
    connection.create_function(name, by_count[len(arguments)], arguments, result, type="arrow", null_handling="special")
