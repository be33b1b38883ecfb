"""Query parameters of the REST API.

https://cloud.google.com/bigquery/docs/reference/rest/v2/QueryParameter
"""

import base64
import math
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import sqlglot
from sqlglot import TokenType, exp
from sqlglot.errors import SqlglotError

from local_bigquery.errors import invalid_query
from local_bigquery.schema import Field, element, is_repeated, standard_type
from local_bigquery.sql import DIALECT
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


def inlined(query: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the query configuration of a job with literals in place of its parameters.

    The emulator would lose types of parameters, and it would replace names in strings, too.

    Raises:
        BigQueryError: `invalidQuery` if a value does not fit its type, or the type is not supported.
    """
    given = query.get("queryParameters") or []
    if not given:
        return query
    try:
        tokens = sqlglot.tokenize(query["query"], read=DIALECT)
    except SqlglotError:
        return query  # the emulator reports the error
    by_name = {parameter.get("name", "").lower(): parameter for parameter in given}
    unnamed = iter(given)
    sql, end = [], 0
    for token, following in zip(tokens, [*tokens[1:], None], strict=True):
        if token.token_type is TokenType.PLACEHOLDER:
            parameter, stop = next(unnamed, None), token.end + 1
        elif token.token_type is TokenType.PARAMETER and following is not None and following.start == token.end + 1:
            parameter, stop = by_name.get(following.text.strip("`").lower()), following.end + 1
        else:
            continue
        if parameter is not None:
            sql += [query["query"][end : token.start], _literal_of(parameter)]
            end = stop
    sql.append(query["query"][end:])
    others = {key: value for key, value in query.items() if key not in ("queryParameters", "parameterMode")}
    return {**others, "query": "".join(sql)}


def _literal_of(parameter: Parameter) -> str:
    try:
        return _literal(parameter.get("parameterType", {}), parameter.get("parameterValue") or {})
    except (ValueError, ArithmeticError, KeyError) as error:
        name = parameter.get("name") or "?"
        raise invalid_query(f"Invalid value of query parameter {name}: {error}") from error


def _literal(kind: Mapping[str, Any], given: Mapping[str, Any]) -> str:
    """Return a value as SQL."""
    if kind["type"] == "ARRAY":
        items = [_literal(kind["arrayType"], item) for item in given.get("arrayValues") or []]
        return f"[{', '.join(items)}]" if items else f"CAST([] AS {_ddl(kind)})"
    if kind["type"] == "STRUCT":
        values = given.get("structValues") or {}
        fields = [
            f"{_literal(field['type'], values.get(field.get('name', ''), {}))}"
            + (f" AS `{field['name']}`" if field.get("name") else "")
            for field in kind["structTypes"]
        ]
        return f"STRUCT({', '.join(fields)})"
    value = given.get("value")
    if value is None:
        return f"CAST(NULL AS {_ddl(kind)})"
    return _scalar(kind["type"].upper(), str(value))


def _scalar(kind: str, value: str) -> str:  # noqa: PLR0911  one case a type
    text = exp.Literal.string(value).sql(DIALECT)
    match kind:
        case "INT64" | "INTEGER":
            return f"({int(value)})" if int(value) < 0 else str(int(value))
        case "FLOAT64" | "FLOAT":
            number = float(value)
            return repr(number) if math.isfinite(number) and number >= 0 else f"CAST('{number!r}' AS FLOAT64)"
        case "BOOL" | "BOOLEAN":
            return "TRUE" if value.lower() == "true" else "FALSE"
        case "NUMERIC" | "BIGNUMERIC":
            Decimal(value)
            return f"{kind} {text}"
        case "BYTES":
            return "b'" + "".join(f"\\x{byte:02x}" for byte in base64.b64decode(value)) + "'"
        case "DATE" | "DATETIME" | "TIME" | "TIMESTAMP" | "JSON":
            return f"{kind} {text}"
        case "STRING":
            return text
        case "GEOGRAPHY":
            return f"ST_GEOGFROMTEXT({text})"
    raise ValueError(f"parameters of type {kind} are not supported by the local BigQuery")


def _ddl(kind: Mapping[str, Any]) -> str:
    if kind["type"] == "ARRAY":
        return f"ARRAY<{_ddl(kind['arrayType'])}>"
    if kind["type"] == "STRUCT":
        fields = (f"`{field['name']}` {_ddl(field['type'])}" for field in kind["structTypes"])
        return f"STRUCT<{', '.join(fields)}>"
    return str(kind["type"])


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
