"""Arrays in tables and results: none has a NULL element, and a NULL array is an empty one.

Source: https://cloud.google.com/bigquery/docs/reference/standard-sql/data-types#array_nulls
"""

import re
from collections.abc import Sequence
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from bqemulator.domain.errors import InvalidQueryError

_NAME = r'(?:"(?:[^"]|"")*"|[\w.])+'
_WRITE = re.compile(
    rf"\s*(?:CREATE\s+(?:OR\s+REPLACE\s+)?(?:TEMP\s+)?TABLE\s+(?:IF\s+NOT\s+EXISTS\s+)?{_NAME}\s+AS\s+"
    rf"|INSERT\s+INTO\s+{_NAME}\s*(?:\((?P<columns>[^()]*)\)\s*)?(?=SELECT|VALUES|WITH|\(|FROM))",
    re.IGNORECASE,
)


def checked_write(connection: Any, sql: str, parameters: Sequence[Any] | None = None) -> str:
    """Return a CREATE TABLE AS or INSERT that refuses NULL in arrays and writes NULL arrays as empty ones.

    Args:
        connection: the database, which tells the types of the query.
        sql: a statement of DuckDB; any other one is returned as it is.
        parameters: the parameters of the statement.
    """
    match = _WRITE.match(sql)
    if match is None:
        return sql
    query = sql[match.end() :].rstrip().rstrip(";")
    try:
        rows = connection.sql(f"SELECT * FROM ({query}\n) AS _rows LIMIT 0", params=parameters)
    except Exception:  # noqa: BLE001  the statement itself reports the error
        return sql
    names, types = rows.columns, rows.types
    if not any("[]" in str(kind) for kind in types):
        return sql
    columns = match["columns"]
    fields = [name.strip(' "') for name in columns.split(",")] if columns else names
    values = [f"c{number}" for number in range(len(names))]
    items = (
        f"{_stored(value, kind, field)} AS {_quoted(name)}"
        for value, kind, field, name in zip(values, types, fields, names, strict=False)
    )
    return f"{match[0]}SELECT {', '.join(items)} FROM ({query}\n) AS _rows({', '.join(values)})"


def _stored(value: str, kind: Any, field: str) -> str:
    condition = _has_null(value, kind)
    if condition is None:
        return value
    message = f"Array cannot have a null element; error in writing field {field}".replace("'", "''")
    stored = f"coalesce({value}, [])" if kind.id == "list" else value
    return f"gsql_unless(coalesce({condition}, FALSE), '{message}', {stored})"


def _has_null(value: str, kind: Any) -> str | None:
    """Return a condition: an array in a value has a NULL element. None if the type has no array."""
    if kind.id == "list":
        ((_, inner),) = kind.children
        conditions = [f"len({value}) > list_count({value})"]
        if (nested := _has_null("x", inner)) is not None:
            conditions.append(f"coalesce(list_bool_or(list_transform({value}, lambda x: {nested})), FALSE)")
        return f"({' OR '.join(conditions)})"
    if kind.id == "struct":
        fields = enumerate(kind.children, 1)  # a field may have no name
        parts = [_has_null(f"struct_extract_at({value}, {place})", inner) for place, (_, inner) in fields]
        found = [f"coalesce({part}, FALSE)" for part in parts if part is not None]
        return f"({' OR '.join(found)})" if found else None
    return None


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def result(table: pa.Table) -> pa.Table:
    """Return a result with empty arrays in place of NULL.

    Raises:
        InvalidQueryError: an array has a NULL element.
    """
    for position, (field, column) in enumerate(zip(table.schema, table.columns, strict=True)):
        if not _has_lists(field.type):
            continue
        if any(_has_null_element(chunk) for chunk in column.chunks):
            raise InvalidQueryError(f"Array cannot have a null element; error in writing field {field.name}")
        chunks = [_filled(chunk) for chunk in column.chunks]
        table = table.set_column(position, field, pa.chunked_array(chunks, field.type))
    return table


def _has_lists(kind: pa.DataType) -> bool:
    return pa.types.is_list(kind) or (pa.types.is_struct(kind) and any(_has_lists(field.type) for field in kind))


def _has_null_element(array: pa.Array) -> bool:
    if pa.types.is_list(array.type):
        elements = array.flatten()
        return elements.null_count > 0 or _has_null_element(elements)
    return pa.types.is_struct(array.type) and any(_has_null_element(field) for field in array.flatten())


def _filled(array: pa.Array) -> pa.Array:
    if pa.types.is_list(array.type):
        lengths = pc.fill_null(pc.list_value_length(array), 0)
        offsets = pa.concat_arrays([pa.array([0], pa.int32()), pc.cumulative_sum(lengths).cast(pa.int32())])
        return pa.ListArray.from_arrays(offsets, _filled(array.flatten()), array.type)
    if pa.types.is_struct(array.type) and _has_lists(array.type):
        fields = [_filled(array.field(position)) for position in range(array.type.num_fields)]
        return pa.StructArray.from_arrays(fields, fields=list(array.type), mask=array.is_null())
    return array
