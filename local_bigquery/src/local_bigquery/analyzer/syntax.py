"""The syntax of statements: their parts and the calls of table functions, as far as the text alone tells them."""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from zetasql.wasi._pb2.zetasql.local_service import local_service_pb2 as service

from local_bigquery.analyzer.messages import Text
from local_bigquery.analyzer.service import language

_OPAQUE = ("APPENDS", "CHANGES", "EXTERNAL_QUERY", "GAP_FILL", "RANGE_SESSIONIZE", "VECTOR_SEARCH")
"""Table functions of BigQuery whose columns depend on more than their names.

Source: https://cloud.google.com/bigquery/docs/reference/standard-sql/table-functions-built-in
"""


@dataclass(frozen=True)
class TableFunctionCall:
    """A call such as `ML.PREDICT(MODEL m, (SELECT ...), STRUCT(0.5 AS threshold))`.

    Attributes:
        function: the name in capitals, such as ML.PREDICT.
        path: the parts of the name as it is written.
        model: the parts of the model's name; empty without a model.
        has_input: the call has a query or a table as an argument.
        input_names: the names of the query's columns as far as the text alone tells them, as `Statement.column_names`.
        settings: the names of the fields of the STRUCT, with the offset of each.
        offset: the offset of the call.
        relations: for each argument but the model, True if it is a query or a table.
        edits: the parts of the text, in bytes, that another name replaces or, for the model, nothing.
    """

    function: str
    path: tuple[str, ...]
    model: tuple[str, ...]
    has_input: bool
    input_names: tuple[str, ...]
    settings: Mapping[str, int]
    offset: int
    relations: tuple[bool, ...]
    edits: tuple[tuple[int, int, bytes | None], ...]


@dataclass(frozen=True)
class Statement:
    """A statement, parsed.

    Attributes:
        kind: QUERY, CREATE_MODEL, or the name of another kind of statement.
        offset: the offset of its first character.
        column_offsets: the offsets of the columns of a query's outermost SELECT; empty if the query has no such list.
        column_names: the names of these columns as far as the text alone tells them; "*" for a star, "" without a name.
        calls: the calls of table functions, inner ones before outer ones.
        target: the parts of the name of what a CREATE statement makes.
        target_offset: the offset of that name.
        or_replace: the statement is CREATE OR REPLACE.
        is_remote: the statement is CREATE MODEL ... REMOTE, or makes the model from a file.
        option_offsets: the offset of each option of a CREATE statement, by name in lower case.
        functions: the names of the functions, as they are written, such as LOWER or ML.BUCKETIZE.
        connections: the names of connections, in parts.
        quoted_paths: the names that are quoted as a whole, such as `p.d.t`. Each has its range in bytes, and the name
            with each part quoted, which means the same in BigQuery.
    """

    kind: str
    offset: int
    column_offsets: Sequence[int]
    column_names: Sequence[str]
    calls: Sequence[TableFunctionCall]
    target: tuple[str, ...]
    target_offset: int
    or_replace: bool
    is_remote: bool
    option_offsets: Mapping[str, int]
    functions: frozenset[str]
    connections: frozenset[tuple[str, ...]]
    quoted_paths: tuple[tuple[int, int, bytes], ...]


@lru_cache(maxsize=64)
def parse(sql: str) -> tuple[Statement, ...]:
    """Parse a text; return its statements.

    Raises:
        GoogleSqlError: the text is not GoogleSQL.
        UnknownOutputError: the text is too deep to be parsed.
    """
    request = service.ParseRequest(sql_statement=sql, options=language(), allow_script=True)
    response = Text(sql).call("Parse", request, service.ParseResponse)
    nodes = response.parsed_script.statement_list_node.statement_list
    return tuple(_statement(node, sql.encode()) for node in nodes)


def tables_of(sql: str) -> set[str]:
    """Return the names of the tables that a statement reads, as it spells them, without back quotes.

    Raises:
        GoogleSqlError: the text is not GoogleSQL.
    """
    request = service.ExtractTableNamesFromStatementRequest(sql_statement=sql, options=language())
    response = service.ExtractTableNamesFromStatementResponse
    names = Text(sql).call("ExtractTableNamesFromStatement", request, response).table_name
    return {".".join(name.table_name_segment) for name in names}


def _statement(node: Any, data: bytes) -> Statement:
    """Describe a statement of the syntax tree. Offsets become those of characters."""

    def characters(offset: int) -> int:
        return len(data[:offset].decode())

    name, inner = innermost(node)
    is_create = hasattr(inner, "options_list") and hasattr(inner, "name")
    options = inner.options_list.options_entries if is_create else ()
    query = inner.query if hasattr(inner, "query") else None
    columns = _select_columns(query) if query is not None else ()
    kinds = ("ASTTVFProto", "ASTFunctionCallProto", "ASTConnectionClauseProto", "ASTIdentifierProto")
    parts: dict[str, list[Any]] = {kind: [] for kind in kinds}
    for part in messages(inner, *parts):
        parts[part.DESCRIPTOR.name].append(part)
    calls = [
        call for call in parts["ASTTVFProto"] if len(call.name.names) > 1 or _path(call.name)[0].upper() in _OPAQUE
    ]
    functions = (_path(each.function) for each in parts["ASTFunctionCallProto"])
    connections = (innermost(each.connection_path) for each in parts["ASTConnectionClauseProto"])
    return Statement(
        kind=re.sub("(?<=[a-z])(?=[A-Z])", "_", name.removesuffix("StatementProto").removeprefix("AST")).upper(),
        offset=characters(_range(inner)[0]),
        column_offsets=[characters(_range(column)[0]) for column in columns],
        column_names=[_column_name(column) for column in columns],
        calls=[_table_function_call(call, characters) for call in calls],
        target=_path(inner.name) if is_create else (),
        target_offset=characters(_range(inner.name)[0]) if is_create else 0,
        or_replace=is_create and inner.parent.is_or_replace,
        is_remote=getattr(inner, "is_remote", False),
        option_offsets={each.name.id_string.lower(): characters(_range(each)[0]) for each in options},
        functions=frozenset(".".join(path) for path in functions),
        connections=frozenset(_path(path) for kind, path in connections if kind == "ASTPathExpressionProto"),
        quoted_paths=tuple(
            (*_range(each), ".".join(f"`{part}`" for part in each.id_string.split(".")).encode())
            for each in parts["ASTIdentifierProto"]
            if "." in each.id_string.strip(".")
        ),
    )


def innermost(node: Any) -> tuple[str, Any]:
    """Return the name and the message inside the unions ("Any...") around a node."""
    while node.DESCRIPTOR.name.startswith("Any"):
        (_, node), *_ = node.ListFields()
    return node.DESCRIPTOR.name, node


def _select_columns(query: Any) -> Any:
    """Return the columns of the outermost SELECT; of the last one of pipe operators, of the first of a UNION."""
    for operator in reversed(query.pipe_operator_list):
        found = list(messages(operator, "ASTSelectListProto"))
        if found:
            return found[-1].columns
    if not query.HasField("query_expr"):
        return ()
    name, inner = innermost(query.query_expr)
    if name == "ASTSelectProto":
        return inner.select_list.columns
    if name == "ASTQueryProto":
        return _select_columns(inner)
    found = list(messages(inner, "ASTSelectProto", outermost=True))
    return found[0].select_list.columns if found else ()


def _column_name(column: Any) -> str:
    if column.HasField("alias"):
        return str(column.alias.identifier.id_string)
    name, expression = innermost(column.expression)
    if name == "ASTPathExpressionProto":
        return str(expression.names[-1].id_string)
    return "*" if "Star" in name else ""


def _table_function_call(node: Any, characters: Callable[[int], int]) -> TableFunctionCall:
    arguments = node.argument_entries
    model = next((each.model_clause for each in arguments if each.HasField("model_clause")), None)
    structs = [
        argument
        for each in arguments
        if each.HasField("expr") and not _is_relation(each)
        for argument in messages(each.expr, "ASTStructConstructorArgProto", outermost=True)
    ]
    others = [each for each in arguments if not each.HasField("model_clause")]
    edits: list[tuple[int, int, bytes | None]] = [(*_range(node.name), None)]
    if model is not None:
        first, *rest = arguments
        begin, end = _range(first)
        edits.append((begin, _range(rest[0])[0] if rest else end, b""))
    return TableFunctionCall(
        function=".".join(_path(node.name)).upper(),
        path=_path(node.name),
        model=_path(model.model_path) if model else (),
        has_input=any(_is_relation(each) for each in arguments),
        input_names=tuple(name for each in arguments for name in _names_of_query(each)),
        settings={
            each.alias.identifier.id_string.lower(): characters(_range(each)[0])
            for each in structs
            if each.HasField("alias")
        },
        offset=characters(_range(node)[0]),
        relations=tuple(_is_relation(each) for each in others),
        edits=tuple(edits),
    )


def _names_of_query(argument: Any) -> Iterator[str]:
    """Yield the names of the columns of an argument that is a query, as `_column_name` tells them."""
    if argument.HasField("expr") and _is_relation(argument):
        yield from map(_column_name, _select_columns(innermost(argument.expr)[1].query))


def _is_relation(argument: Any) -> bool:
    if argument.HasField("table_clause"):
        return True
    return argument.HasField("expr") and innermost(argument.expr)[0] == "ASTExpressionSubqueryProto"


def messages(node: Any, *names: str, outermost: bool = False) -> Iterator[Any]:
    """Yield the messages of some types in a tree, inner ones before outer ones, or only the outermost ones."""
    if outermost and node.DESCRIPTOR.name in names:
        yield node
        return
    for described, value in node.ListFields():
        if described.message_type and described.name != "parse_location_range":
            for child in value if described.is_repeated else (value,):
                yield from messages(child, *names, outermost=outermost)
    if node.DESCRIPTOR.name in names:
        yield node


def _path(path: Any) -> tuple[str, ...]:
    return tuple(part for name in path.names for part in name.id_string.split("."))


def _range(node: Any) -> tuple[int, int]:
    """Return the offsets of a node's first byte and of the byte after its last one."""
    while not hasattr(node, "parse_location_range"):
        node = innermost(node)[1].parent
    return node.parse_location_range.start, node.parse_location_range.end
