"""Query parameters as the REST API writes them.

https://cloud.google.com/bigquery/docs/reference/rest/v2/QueryParameter
"""

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from local_bigquery.errors import invalid_query
from local_bigquery.run.scratch import Field
from local_bigquery.sql.scripts import number_parameters

Parameter = dict[str, Any]

_STANDARD_NAMES = {"INTEGER": "INT64", "FLOAT": "FLOAT64", "BOOLEAN": "BOOL"}
_PLACE = "_parameter_"


def with_names(query: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return a job's query configuration with named parameters in the place of positional ones.

    Raises:
        BigQueryError: `invalidQuery`, if there are not as many parameters as places for them.
        sqlglot.errors.TokenError: If the text does not consist of tokens.
    """
    if query.get("parameterMode", "").upper() != "POSITIONAL":
        return query
    given = query.get("queryParameters", [])
    sql, places = number_parameters(query["query"], _PLACE)
    if places > len(given):
        raise invalid_query(f"Query has {places} positional parameters (?), but {len(given)} values for them")
    named = [{**parameter, "name": f"{_PLACE}{place}"} for place, parameter in enumerate(given)]
    return {**query, "query": sql, "parameterMode": "NAMED", "queryParameters": named}


def with_more(query: Mapping[str, Any], more: Iterable[Parameter]) -> Mapping[str, Any]:
    """Return a job's query configuration with more named parameters."""
    parameters = [*query.get("queryParameters", []), *more]
    return {**query, "parameterMode": "NAMED", "queryParameters": parameters} if parameters else query


def of_result(name: str, field: Field, value: Any) -> Parameter:
    """Return a parameter with a value from a query's result.

    Args:
        name: The parameter's name.
        field: The column of the result.
        value: The value as the REST API writes it.
    """
    return {"name": name, "parameterType": _type(field), "parameterValue": _value(field, value)}


def constant_value(parameter: Parameter) -> Any:
    """Return the Python value of a parameter that is no array or struct."""
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
    if field.get("mode") == "REPEATED":
        return {"type": "ARRAY", "arrayType": _type({**field, "mode": "NULLABLE"})}
    if field["type"] == "RECORD":
        fields = [{"name": inner["name"], "type": _type(inner)} for inner in field["fields"]]
        return {"type": "STRUCT", "structTypes": fields}
    return {"type": _STANDARD_NAMES.get(field["type"], field["type"])}


def _value(field: Field, value: Any) -> dict[str, Any]:
    if field.get("mode") == "REPEATED":
        element = {**field, "mode": "NULLABLE"}
        return {"arrayValues": [_value(element, item["v"]) for item in value or []]}
    if field["type"] == "RECORD":
        values = [cell["v"] for cell in value["f"]] if value is not None else [None] * len(field["fields"])
        pairs = zip(field["fields"], values, strict=True)
        return {"structValues": {inner["name"]: _value(inner, item) for inner, item in pairs}}
    if field["type"] == "TIMESTAMP" and value is not None:
        value = (datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=int(value))).isoformat()
    return {"value": value}
