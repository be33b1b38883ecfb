"""Query parameters of the REST API.

https://cloud.google.com/bigquery/docs/reference/rest/v2/QueryParameter
"""

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from local_bigquery.errors import invalid_query
from local_bigquery.schema import Field, element, is_repeated, standard_type
from local_bigquery.sql.scripts import name_parameters

Parameter = dict[str, Any]

_PREFIX = "_parameter_"


def with_named_parameters(query: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the query configuration of a job with named instead of positional parameters.

    Raises:
        BigQueryError: `invalidQuery` if there are fewer parameters than placeholders.
        sqlglot.errors.TokenError: the text cannot be split into tokens.
    """
    if query.get("parameterMode", "").upper() != "POSITIONAL":
        return query
    given = query.get("queryParameters", [])
    sql, count = name_parameters(query["query"], _PREFIX)
    if count > len(given):
        raise invalid_query(f"Query has {count} positional parameters (?), but {len(given)} values for them")
    named = [{**parameter, "name": f"{_PREFIX}{position}"} for position, parameter in enumerate(given)]
    return {**query, "query": sql, "parameterMode": "NAMED", "queryParameters": named}


def with_parameters(query: Mapping[str, Any], more: Iterable[Parameter]) -> Mapping[str, Any]:
    """Return the query configuration of a job with further named parameters."""
    parameters = [*query.get("queryParameters", []), *more]
    return {**query, "parameterMode": "NAMED", "queryParameters": parameters} if parameters else query


def parameter_of(name: str, field: Field, value: Any) -> Parameter:
    """Return a parameter with a value from the result of a query.

    Args:
        name: the name of the parameter.
        field: the column of the result.
        value: the value as the REST API writes it.
    """
    return {"name": name, "parameterType": _type(field), "parameterValue": _value(field, value)}


def python_value(parameter: Parameter) -> Any:
    """Return the Python value of a parameter that is neither an array nor a struct."""
    value = parameter["parameterValue"].get("value")
    match parameter["parameterType"]["type"]:
        case _ if value is None:
            return None
        case "INT64":
            return int(value)
        case "FLOAT64" | "NUMERIC" | "BIGNUMERIC":
            return float(value)
        case "BOOL":
            return str(value).lower() == "true"
    return value


def _type(field: Field) -> dict[str, Any]:
    if is_repeated(field):
        return {"type": "ARRAY", "arrayType": _type(element(field))}
    if field["type"] == "RECORD":
        fields = [{"name": inner["name"], "type": _type(inner)} for inner in field["fields"]]
        return {"type": "STRUCT", "structTypes": fields}
    return {"type": standard_type(field)}


def _value(field: Field, value: Any) -> dict[str, Any]:
    if is_repeated(field):
        return {"arrayValues": [_value(element(field), item["v"]) for item in value or []]}
    if field["type"] == "RECORD":
        values = [cell["v"] for cell in value["f"]] if value is not None else [None] * len(field["fields"])
        pairs = zip(field["fields"], values, strict=True)
        return {"structValues": {inner["name"]: _value(inner, item) for inner, item in pairs}}
    if field["type"] == "TIMESTAMP" and value is not None:
        value = (datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=int(value))).isoformat()
    return {"value": value}
