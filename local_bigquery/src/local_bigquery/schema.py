"""Schemas of tables, as the REST API, DDL and Arrow write them.

A `Field` is a TableFieldSchema of the REST API, which uses the type names of legacy SQL (`INTEGER`, `RECORD`). Standard
SQL has other names for some of these types (`INT64`, `STRUCT`).

https://cloud.google.com/bigquery/docs/reference/rest/v2/tables#TableFieldSchema
"""

from collections.abc import Mapping
from typing import Any

import pyarrow as pa

from local_bigquery.errors import invalid_query

Field = dict[str, Any]
Schema = list[Field]

_STANDARD_NAMES = {"INTEGER": "INT64", "FLOAT": "FLOAT64", "BOOLEAN": "BOOL", "RECORD": "STRUCT"}
_LEGACY_NAMES = {standard: legacy for legacy, standard in _STANDARD_NAMES.items()}
_ARROW_TYPES = (
    (pa.types.is_boolean, "BOOLEAN"),
    (pa.types.is_integer, "INTEGER"),
    (pa.types.is_floating, "FLOAT"),
    (pa.types.is_decimal, "NUMERIC"),
    (pa.types.is_string, "STRING"),
    (pa.types.is_binary, "BYTES"),
    (pa.types.is_date, "DATE"),
    (pa.types.is_time, "TIME"),
    (lambda arrow_type: pa.types.is_timestamp(arrow_type) and arrow_type.tz is None, "DATETIME"),
    (pa.types.is_timestamp, "TIMESTAMP"),
)


def standard_type(field: Mapping[str, Any]) -> str:
    """Return the name of a field's type in standard SQL, such as `INT64`, regardless of its mode."""
    return _STANDARD_NAMES.get(field["type"], str(field["type"]))


def legacy_type(field: Mapping[str, Any]) -> str:
    """Return the name of a field's type in legacy SQL, such as `INTEGER`, or `ARRAY<INTEGER>` if it is repeated."""
    name = _LEGACY_NAMES.get(field["type"], field["type"])
    return f"ARRAY<{name}>" if is_repeated(field) else str(name)


def is_repeated(field: Mapping[str, Any]) -> bool:
    """Return True if a field is an array."""
    return field.get("mode") == "REPEATED"


def element(field: Mapping[str, Any]) -> Field:
    """Return the field of an array's elements."""
    return {**field, "mode": "NULLABLE"}


def ddl_type(field: Mapping[str, Any]) -> str:
    """Return a field's type as DDL writes it, such as `ARRAY<STRUCT<a INT64>>`."""
    if is_repeated(field):
        return f"ARRAY<{ddl_type(element(field))}>"
    if "fields" in field:
        return "STRUCT<" + ", ".join(f"`{inner['name']}` {ddl_type(inner)}" for inner in field["fields"]) + ">"
    return standard_type(field)


def standard_sql_field(field: Mapping[str, Any]) -> dict[str, Any]:
    """Return a field as a StandardSqlField, which the resources of models use.

    https://cloud.google.com/bigquery/docs/reference/rest/v2/StandardSqlField
    """
    return {"name": field["name"], "type": _standard_sql_type(field)}


def _standard_sql_type(field: Mapping[str, Any]) -> dict[str, Any]:
    if is_repeated(field):
        return {"typeKind": "ARRAY", "arrayElementType": _standard_sql_type(element(field))}
    kind = standard_type(field)
    if kind == "STRUCT":
        return {"typeKind": kind, "structType": {"fields": [standard_sql_field(inner) for inner in field["fields"]]}}
    return {"typeKind": kind}


def arrow_field(field: pa.Field) -> Field:
    """Return an Arrow field as a field of a table.

    Raises:
        BigQueryError: `invalidQuery` if BigQuery has no such type.
    """
    if pa.types.is_list(field.type):
        return {**arrow_field(pa.field(field.name, field.type.value_type)), "mode": "REPEATED"}
    if pa.types.is_struct(field.type):
        fields = [arrow_field(inner) for inner in field.type]
        return {"name": field.name, "type": "RECORD", "mode": "NULLABLE", "fields": fields}
    for is_type, name in _ARROW_TYPES:
        if is_type(field.type):
            return {"name": field.name, "type": name, "mode": "NULLABLE"}
    raise invalid_query(f"Column {field.name!r} of type {field.type} cannot be returned by a BigQuery ML function")
