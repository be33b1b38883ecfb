"""The analysis of one statement: it is resolved against a catalog, with types."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from zetasql.wasi._pb2.zetasql.local_service import local_service_pb2 as service
from zetasql.wasi._pb2.zetasql.proto import options_pb2
from zetasql.wasi._pb2.zetasql.public import options_pb2 as public

from local_bigquery.analyzer.catalog import Catalog, add_table_function
from local_bigquery.analyzer.messages import Text, UnknownOutputError
from local_bigquery.analyzer.service import language
from local_bigquery.analyzer.syntax import innermost, messages, parse, tables_of
from local_bigquery.analyzer.types import Type, from_proto, to_proto

_UNKNOWN = ("AI", "OBJ")
"""The namespaces of functions of BigQuery that ZetaSQL does not know."""

_NAMESPACES = ("AEAD", "HLL_COUNT", "KEYS", "KLL_QUANTILES", "ML", "NET", "SAFE")
"""The namespaces of functions that ZetaSQL or the catalog knows. Others are datasets with functions of a team."""

_SYSTEM_VARIABLES = {
    **dict.fromkeys(
        (
            *("current_job_id", "dataset_id", "dataset_project_id", "last_job_id", "location", "project_id"),
            *("query_label", "reservation", "session_id", "time_zone"),
            *("error.formatted_stack_trace", "error.message", "error.statement_text"),
        ),
        Type("STRING"),
    ),
    **dict.fromkeys(("row_count", "script.bytes_billed", "script.bytes_processed", "script.slot_ms"), Type("INT64")),
}
"""Source: https://cloud.google.com/bigquery/docs/reference/system-variables"""

PARTITIONS = {"_PARTITIONTIME": Type("TIMESTAMP"), "_PARTITIONDATE": Type("DATE")}
"""Columns of a table that is partitioned by ingestion, which its PARTITION BY also names.

Source: https://cloud.google.com/bigquery/docs/partitioned-tables#ingestion_time
"""


@dataclass(frozen=True)
class Analysis:
    """A statement, resolved.

    Attributes:
        columns: names and types of the columns of its query, in order.
        options: the options of a CREATE statement that are literals, by name in lower case.
        inputs: the columns of the input of each call of a table function that has an input, by the call's index.
        transform_inputs: the columns that the TRANSFORM clause of a CREATE MODEL uses; None without one.
    """

    columns: Sequence[tuple[str, Type]]
    options: Mapping[str, Any]
    inputs: Mapping[int, Mapping[str, Type]]
    transform_inputs: frozenset[str] | None


def analyze(sql: str, catalog: Catalog) -> Analysis:
    """Resolve the names and types of one statement.

    Raises:
        GoogleSqlError: BigQuery would refuse the statement.
        UnknownOutputError: the statement uses a function or view whose type or columns are not known.
    """
    (statement,) = parse(sql)
    views = {name for name in tables_of(sql) if "INFORMATION_SCHEMA" in name.upper()}
    if not views <= {".".join(form) for name in catalog.tables for form in catalog.forms(name)}:
        raise UnknownOutputError("INFORMATION_SCHEMA")
    for function in sorted(filter(_is_routine, statement.functions)):
        if catalog.routines is None or function.partition(".")[0].upper() in _UNKNOWN:
            raise UnknownOutputError(function)
    proto = catalog.to_proto(statement.connections)
    text = Text(sql)
    for index, call in enumerate(statement.calls):
        output = catalog.output(call)
        if output is None:
            raise UnknownOutputError(call.function)
        alias = f"table_function_{index}"
        add_table_function(proto, alias, call, output)
        text.rename(call, alias)
    for quoted in statement.quoted_paths:
        text.replace(*quoted)
    request = service.AnalyzeRequest(options=_options(catalog), simple_catalog=proto, sql_statement=text.edited())
    response = text.call("Analyze", request, service.AnalyzeResponse)
    return _analysis(response.resolved_statement)


def _is_routine(function: str) -> bool:
    """Return True if a function is one of a dataset."""
    return "." in function and function.partition(".")[0].upper() not in _NAMESPACES


def _options(catalog: Catalog) -> options_pb2.AnalyzerOptionsProto:
    options = options_pb2.AnalyzerOptionsProto(
        language_options=language(),
        error_message_mode=public.ERROR_MESSAGE_ONE_LINE,
        allow_undeclared_parameters=catalog.parameters is None,
        prune_unused_columns=False,
    )
    for name, kind in _SYSTEM_VARIABLES.items():
        options.system_variables.add(name_path=name.split("."), type=to_proto(kind))
    for name, kind in PARTITIONS.items():
        options.ddl_pseudo_columns.add(name=name, type=to_proto(kind))
    if isinstance(catalog.parameters, tuple):
        options.parameter_mode = public.PARAMETER_POSITIONAL
        options.positional_query_parameters.extend(map(to_proto, catalog.parameters))
    for name, kind in catalog.parameters.items() if isinstance(catalog.parameters, Mapping) else ():
        options.query_parameters.add(name=name, type=to_proto(kind))
    return options


_SCALARS = (
    *("BIGNUMERIC", "BOOL", "BYTES", "DATE", "DATETIME", "FLOAT64", "GEOGRAPHY", "INT64", "INTERVAL", "JSON"),
    *("NUMERIC", "STRING", "TIME", "TIMESTAMP"),
)
"""Source: https://cloud.google.com/bigquery/docs/reference/standard-sql/data-types"""


def type_of(text: str) -> Type:
    """Return the type that a text such as ARRAY<STRUCT<x INT64>> names.

    Raises:
        GoogleSqlError: there is no such type.
    """
    if text in _SCALARS:
        return Type(text)
    return analyze(f"SELECT CAST(NULL AS {text}) AS value", Catalog({}, "")).columns[0][1]


def _analysis(resolved: Any) -> Analysis:
    _, statement = innermost(resolved)
    columns = getattr(statement, "output_column_list", ())
    inputs: dict[int, Mapping[str, Type]] = {}
    for scan in messages(resolved, "ResolvedTVFScanProto"):
        index = int(scan.tvf.name.rpartition("_")[2])
        for argument in scan.signature.argument:
            if argument.HasField("relation_argument"):
                used = argument.relation_argument.column
                inputs[index] = {column.name: from_proto(column.type) for column in used}
    parent = getattr(statement, "parent", None)
    listed: Any = getattr(statement, "option_list", None) or getattr(parent, "option_list", ())
    transforms = [
        *getattr(statement, "transform_list", ()),
        *getattr(statement, "transform_analytic_function_group_list", ()),
    ]
    names = {each.column.column_id: each.name for each in getattr(statement, "transform_input_column_list", ())}
    references = {
        names.get(reference.column.column_id, "")
        for each in transforms
        for reference in messages(each, "ResolvedColumnRefProto")
    }
    return Analysis(
        columns=[(column.name, from_proto(column.column.type)) for column in columns],
        options={option.name.lower(): value for option in listed if (value := _literal(option.value)) is not None},
        inputs=inputs,
        transform_inputs=frozenset(references) if transforms else None,
    )


def _literal(expression: Any) -> Any:
    """Return the value of a literal, a list for an array of literals, or None for any other expression."""
    name, node = innermost(expression)
    return _value(node.value.value) if name == "ResolvedLiteralProto" else None


def _value(value: Any) -> Any:
    which = value.WhichOneof("value")
    if which == "array_value":
        return [_value(each) for each in value.array_value.element]
    return getattr(value, which) if which else None
