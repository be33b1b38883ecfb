"""Google's own analyzer of GoogleSQL: ZetaSQL, which the package `zetasql` carries as WebAssembly.

No other module knows that package. `parse()` finds the statements and the calls of table functions in a text,
`tables_of()` the tables. `analyze()` resolves one statement against a catalog, with types, and raises BigQuery's own
messages.
"""

import ctypes
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cache, lru_cache
from importlib.metadata import version
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import Any, Self

import tzdata
from wasmtime import Config, Engine, Linker, Module, Store, Trap, WasiConfig, WasmtimeError
from zetasql.wasi import get_wasm_path
from zetasql.wasi._pb2.zetasql.local_service import local_service_pb2 as service
from zetasql.wasi._pb2.zetasql.proto import function_pb2, options_pb2, simple_catalog_pb2
from zetasql.wasi._pb2.zetasql.public import function_pb2 as kinds
from zetasql.wasi._pb2.zetasql.public import options_pb2 as public
from zetasql.wasi._pb2.zetasql.public import type_pb2
from zetasql.wasi._pb2.zetasql.resolved_ast import resolved_node_kind_pb2

_NOT_BIGQUERY = ("INLINE_LAMBDA_ARGUMENT", "MAP_TYPE", "UUID_TYPE", "LATERAL_COLUMN_REFERENCES")
"""Features of ZetaSQL that BigQuery does not have.

Source: https://cloud.google.com/bigquery/docs/reference/standard-sql/data-types and .../functions-all
"""

_RESERVED = ("QUALIFY",)
"""Keywords that BigQuery reserves and ZetaSQL reserves on request.

Source: https://cloud.google.com/bigquery/docs/reference/standard-sql/lexical#reserved_keywords
"""

_NAMESPACES = ("AEAD", "HLL_COUNT", "KEYS", "KLL_QUANTILES", "ML", "NET", "SAFE")
"""The namespaces of functions that ZetaSQL or the catalog knows. Others are datasets with functions of a team."""

_SCALARS = (
    *("BIGNUMERIC", "BOOL", "BYTES", "DATE", "DATETIME", "FLOAT64", "GEOGRAPHY", "INT64", "INTERVAL", "JSON"),
    *("NUMERIC", "STRING", "TIME", "TIMESTAMP"),
)
"""Source: https://cloud.google.com/bigquery/docs/reference/standard-sql/data-types"""

_PSEUDO_COLUMNS = {"_TABLE_SUFFIX", "_PARTITIONTIME", "_PARTITIONDATE"}


class GoogleSqlError(Exception):
    """SQL that BigQuery would refuse."""

    def __init__(self, message: str, offset: int) -> None:
        """Give the message, and the offset of the character that it is about."""
        super().__init__(message)
        self.message = message
        self.offset = offset


class UnknownOutputError(Exception):
    """A statement uses a function or view whose type or columns are not known, or is too deep to be analysed."""


@dataclass(frozen=True)
class Type:
    """A data type of BigQuery.

    Attributes:
        kind: INT64, STRUCT, ARRAY, ...
        fields: names and types of a STRUCT's fields; a field without a name has an empty one.
        element: the type of an ARRAY's or a RANGE's elements.
    """

    kind: str
    fields: tuple[tuple[str, "Type"], ...] = ()
    element: "Type | None" = None

    @classmethod
    def array(cls, element: Self) -> "Type":
        """Return the ARRAY of a type."""
        return cls("ARRAY", element=element)

    @classmethod
    def struct(cls, **fields: "Type") -> "Type":
        """Return the STRUCT of some fields."""
        return cls("STRUCT", tuple(fields.items()))

    def __str__(self) -> str:
        if self.kind == "STRUCT":
            return f"STRUCT<{', '.join(f'{name} {kind}'.strip() for name, kind in self.fields)}>"
        return f"{self.kind}<{self.element}>" if self.element else self.kind


_ONLY_IN_BIGQUERY = {
    "COLLATE": Type("STRING"),
    "CONTAINS_SUBSTR": Type("BOOL"),
    "SEARCH": Type("BOOL"),
    "TEXT_ANALYZE": Type.array(Type("STRING")),
}
"""Functions of BigQuery that ZetaSQL does not have, and the types that they return.

Source: https://cloud.google.com/bigquery/docs/reference/standard-sql/functions-all
"""

_OPAQUE = ("APPENDS", "CHANGES", "EXTERNAL_QUERY", "GAP_FILL", "RANGE_SESSIONIZE", "VECTOR_SEARCH")
"""Table functions of BigQuery whose columns depend on more than their names.

Source: https://cloud.google.com/bigquery/docs/reference/standard-sql/table-functions-built-in
"""


@dataclass(frozen=True)
class TableFunctionCall:
    """A call such as `ML.PREDICT(MODEL m, (SELECT ...), STRUCT(0.5 AS threshold))`.

    Attributes:
        function: the name in capitals, such as ML.PREDICT.
        model: the parts of the model's name; empty without a model.
        has_input: the call has a query or a table as an argument.
        settings: the names of the fields of the STRUCT, with the offset of each.
        offset: the offset of the call.
        model_offset: the offset of the model's name.
    """

    function: str
    model: tuple[str, ...]
    has_input: bool
    settings: Mapping[str, int]
    offset: int
    model_offset: int
    _node: Any = field(repr=False, compare=False)


@dataclass(frozen=True)
class Output:
    """The columns of a table function. With `keeps_input`, they are added to the columns of its input."""

    columns: Mapping[str, Type]
    keeps_input: bool = False


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
        functions: the names of the functions with more than one part, such as ML.BUCKETIZE or a dataset's function.
        connections: the names of connections, each as it is split by back quotes.
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


@dataclass(frozen=True)
class Catalog:
    """The tables and functions that a statement may use.

    Attributes:
        tables: the columns of each table, by PROJECT.DATASET.TABLE.
        default_project: the project of names without one.
        output: returns the columns of a call; None if they are not known. It may raise GoogleSqlError.
        functions: return types of scalar functions, by their names, such as ML.BUCKETIZE.
    """

    tables: Mapping[str, Mapping[str, Type]]
    default_project: str
    output: Callable[[TableFunctionCall], Output | None] = lambda _: None
    functions: Mapping[str, Type] = field(default_factory=dict)


@lru_cache(maxsize=64)
def parse(sql: str) -> tuple[Statement, ...]:
    """Parse a text; return its statements.

    Raises:
        GoogleSqlError: the text is not GoogleSQL.
        UnknownOutputError: the text is too deep to be parsed.
    """
    request = service.ParseRequest(sql_statement=sql, options=_language(), allow_script=True)
    response = _call("Parse", request, service.ParseResponse, _Text(sql))
    nodes = response.parsed_script.statement_list_node.statement_list
    return tuple(_statement(node, sql.encode()) for node in nodes)


def analyze(sql: str, catalog: Catalog) -> Analysis:
    """Resolve the names and types of one statement.

    Raises:
        GoogleSqlError: BigQuery would refuse the statement.
        UnknownOutputError: the statement uses a function or view whose type or columns are not known.
    """
    (statement,) = parse(sql)
    if found := re.search(r"\bINFORMATION_SCHEMA\b|@@\w+", sql, re.IGNORECASE):
        raise UnknownOutputError(found[0])
    for function in sorted(statement.functions):
        if function.partition(".")[0] not in _NAMESPACES:
            raise UnknownOutputError(function)
    proto = _catalog(catalog, statement.connections)
    functions = proto.catalog.add(name="ML")
    for name in ("MAX_BY", "MIN_BY"):
        _add_aggregate(proto, name)
    for name, returned in {**_ONLY_IN_BIGQUERY, **catalog.functions}.items():
        _add_function(functions if name.startswith("ML.") else proto, name.rpartition(".")[2], returned)
    text = _Text(sql)
    for index, call in enumerate(statement.calls):
        output = catalog.output(call)
        if output is None:
            raise UnknownOutputError(call.function)
        alias = f"{call.function.replace('.', '_')}_{index}"
        _add_table_function(proto, alias, call, output)
        text.rename(call, alias)
    options = options_pb2.AnalyzerOptionsProto(
        language_options=_language(),
        error_message_mode=public.ERROR_MESSAGE_ONE_LINE,
        allow_undeclared_parameters=True,
        prune_unused_columns=False,
    )
    request = service.AnalyzeRequest(options=options, simple_catalog=proto, sql_statement=text.edited())
    response = _call("Analyze", request, service.AnalyzeResponse, text)
    return _analysis(response.resolved_statement)


def tables_of(sql: str) -> set[str]:
    """Return the names of the tables that a statement reads, as it spells them, without back quotes.

    Raises:
        GoogleSqlError: the text is not GoogleSQL.
    """
    request = service.ExtractTableNamesFromStatementRequest(sql_statement=sql, options=_language())
    response = service.ExtractTableNamesFromStatementResponse
    names = _call("ExtractTableNamesFromStatement", request, response, _Text(sql)).table_name
    return {".".join(name.table_name_segment) for name in names}


def type_of(text: str) -> Type:
    """Return the type that a text such as ARRAY<STRUCT<x INT64>> names.

    Raises:
        GoogleSqlError: there is no such type.
    """
    if text in _SCALARS:
        return Type(text)
    return analyze(f"SELECT CAST(NULL AS {text}) AS value", Catalog({}, "")).columns[0][1]


class _Text:
    """A statement in which table functions get names of their own. Offsets are in bytes of UTF-8 inside the class."""

    def __init__(self, sql: str) -> None:
        self._bytes = sql.encode()
        self._edits: list[tuple[int, int, bytes]] = []

    def rename(self, call: TableFunctionCall, alias: str) -> None:
        """Call `alias`, without the model: what is left is an argument list that any catalog can describe."""
        node = call._node  # noqa: SLF001  of this module
        self._edits.append((*_range(node.name), f"`{alias}`".encode()))
        first, *rest = node.argument_entries or (None,)
        if first is not None and first.HasField("model_clause"):
            begin, end = _range(first)
            self._edits.append((begin, _range(rest[0])[0] if rest else end, b""))

    def edited(self) -> str:
        """Return the text with its edits."""
        parts, end = [], 0
        self._edits.sort()
        for begin, stop, new in self._edits:
            parts += [self._bytes[end:begin], new]
            end = stop
        return b"".join([*parts, self._bytes[end:]]).decode()

    def offset(self, line: int, column: int) -> int:
        """Return the offset in the original, in characters, of a line and a column of the edited text.

        ZetaSQL counts both from 1. A tab fills the line up to the next multiple of eight columns
        (zetasql/public/parse_location.h).
        """
        lines = re.split("(?<=\n)|(?<=\r)(?!\n)", self.edited())
        text, at = lines[line - 1] if line <= len(lines) else "", 1
        position = 0
        while at < column and position < len(text):
            at = (at - 1) // 8 * 8 + 9 if text[position] == "\t" else at + 1
            position += 1
        place = len("".join([*lines[: line - 1], text[:position]]).encode())
        for begin, stop, new in self._edits:
            if place < begin:
                break
            place = begin if place < begin + len(new) else place - len(new) + stop - begin
        return len(self._bytes[:place].decode(errors="ignore"))


class _Wasm:
    """The WebAssembly program."""

    def __init__(self) -> None:
        config = Config()
        config.shared_memory = True
        engine = Engine(config)
        wasi = WasiConfig()
        wasi.preopen_dir(str(Path(tzdata.__file__).parent / "zoneinfo"), "/usr/share/zoneinfo")
        self._store = Store(engine)
        self._store.set_wasi(wasi)
        linker = Linker(engine)
        linker.define_wasi()
        exports: Any = linker.instantiate(self._store, _module(engine)).exports(self._store)
        self._exports = exports
        if "_initialize" in self._exports:
            self._exports["_initialize"](self._store)

    def call(self, method: str, request: bytes) -> bytes | str:
        """Return the response of a method, or the text of its error."""
        pointer = self._run("wasm_malloc", len(request))
        size = self._run("wasm_malloc", 4)
        ctypes.memmove(self._address(pointer), request, len(request))
        response = self._run(f"ZetaSqlLocalService_{method}", pointer, len(request), size)
        if response:
            answer: bytes | str = self._read(response, int.from_bytes(self._read(size, 4), "little"))
            self._run("wasm_free", response)
        else:
            answer = self._read(self._run("wasm_get_last_error"), self._run("wasm_get_last_error_size")).decode()
        self._run("wasm_free", pointer)
        self._run("wasm_free", size)
        return answer

    def _run(self, name: str, *arguments: int) -> Any:
        return self._exports[name](self._store, *arguments) or 0

    def _address(self, pointer: int) -> int:
        return ctypes.addressof(self._exports["memory"].data_ptr().contents) + pointer

    def _read(self, pointer: int, length: int) -> bytes:
        return ctypes.string_at(self._address(pointer), length)


def _module(engine: Engine) -> Module:
    """The compiled program. It is compiled once (20 s) and kept in the environment, from where it loads in 10 ms."""
    versions = "-".join(f"{name}-{version(name)}" for name in ("zetasql", "wasmtime"))
    compiled = Path(sys.prefix) / f"{versions}.cwasm"
    with suppress(WasmtimeError):  # it is not there, or was compiled on a machine of another kind
        return Module.deserialize_file(engine, str(compiled))
    module = Module.from_file(engine, str(get_wasm_path()))
    with suppress(OSError), NamedTemporaryFile(dir=compiled.parent, delete=False) as file:
        file.write(module.serialize())
        Path(file.name).replace(compiled)
    return module


@cache
def _wasm() -> _Wasm:
    return _Wasm()


def _call(method: str, request: Any, response: Any, text: _Text) -> Any:
    """Call a method of ZetaSQL's local service."""
    try:
        answer = _wasm().call(method, request.SerializeToString())
    except Trap:  # deep nesting fills the program's stack; what is left of it cannot be used again
        _wasm.cache_clear()
        raise UnknownOutputError("a statement of this depth") from None
    if isinstance(answer, bytes):
        return response.FromString(answer)
    found = re.fullmatch(r"(?:Code: \d+, Message: )?(.*?)(?: \[at (\d+):(\d+)\])?\s*", answer, re.DOTALL)
    message, line, column = found.groups() if found else (answer, None, None)
    message = re.sub(r"\b(ML|AI)_([A-Z_]+)_\d+\b", r"\1.\2", re.sub(r" \[at \d+:\d+\]", "", message))
    raise GoogleSqlError(message, text.offset(int(line), int(column)) if line and column else 0)


@cache
def _language() -> options_pb2.LanguageOptionsProto:
    request = service.LanguageOptionsRequest(maximum_features=True)
    answer = _wasm().call("GetLanguageOptions", request.SerializeToString())
    language = options_pb2.LanguageOptionsProto.FromString(answer)
    names = {public.LanguageFeature.Name(number) for number in language.enabled_language_features}
    left = [name for name in names if not name.endswith(_NOT_BIGQUERY)]
    del language.enabled_language_features[:]
    language.enabled_language_features.extend(public.LanguageFeature.Value(name) for name in sorted(left))
    language.product_mode = public.PRODUCT_EXTERNAL
    language.reserved_keywords.extend(_RESERVED)
    statements = [number for name, number in resolved_node_kind_pb2.ResolvedNodeKind.items() if name.endswith("_STMT")]
    language.supported_statement_kinds.extend(statements)
    return language


def _statement(node: Any, data: bytes) -> Statement:
    """Describe a statement of the syntax tree. Offsets become those of characters."""

    def characters(offset: int) -> int:
        return len(data[:offset].decode())

    name, inner = _innermost(node)
    is_create = hasattr(inner, "options_list") and hasattr(inner, "name")
    options = inner.options_list.options_entries if is_create else ()
    query = inner.query if hasattr(inner, "query") else None
    columns = _select_columns(query) if query is not None else ()
    parts: dict[str, list[Any]] = {"ASTTVFProto": [], "ASTFunctionCallProto": [], "ASTConnectionClauseProto": []}
    for part in _messages(inner, *parts):
        parts[part.DESCRIPTOR.name].append(part)
    calls = [
        call for call in parts["ASTTVFProto"] if len(call.name.names) > 1 or _path(call.name)[0].upper() in _OPAQUE
    ]
    functions = (_path(each.function) for each in parts["ASTFunctionCallProto"])
    connections = (_innermost(each.connection_path) for each in parts["ASTConnectionClauseProto"])
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
        functions=frozenset(".".join(path).upper() for path in functions if len(path) > 1),
        connections=frozenset(
            tuple(part.id_string for part in path.names)
            for kind, path in connections
            if kind == "ASTPathExpressionProto"
        ),
    )


def _innermost(node: Any) -> tuple[str, Any]:
    """Return the name and the message inside the unions ("Any...") around a node."""
    while node.DESCRIPTOR.name.startswith("Any"):
        (_, node), *_ = node.ListFields()
    return node.DESCRIPTOR.name, node


def _select_columns(query: Any) -> Any:
    """Return the columns of the outermost SELECT; of the last one of pipe operators, of the first of a UNION."""
    for operator in reversed(query.pipe_operator_list):
        found = list(_messages(operator, "ASTSelectListProto"))
        if found:
            return found[-1].columns
    if not query.HasField("query_expr"):
        return ()
    name, inner = _innermost(query.query_expr)
    if name == "ASTSelectProto":
        return inner.select_list.columns
    if name == "ASTQueryProto":
        return _select_columns(inner)
    found = list(_messages(inner, "ASTSelectProto", outermost=True))
    return found[0].select_list.columns if found else ()


def _column_name(column: Any) -> str:
    if column.HasField("alias"):
        return str(column.alias.identifier.id_string)
    name, expression = _innermost(column.expression)
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
        for argument in _messages(each.expr, "ASTStructConstructorArgProto", outermost=True)
    ]
    return TableFunctionCall(
        function=".".join(_path(node.name)).upper(),
        model=_path(model.model_path) if model else (),
        has_input=any(_is_relation(each) for each in arguments),
        settings={
            each.alias.identifier.id_string.lower(): characters(_range(each)[0])
            for each in structs
            if each.HasField("alias")
        },
        offset=characters(_range(node)[0]),
        model_offset=characters(_range(model.model_path)[0]) if model else 0,
        _node=node,
    )


def _is_relation(argument: Any) -> bool:
    if argument.HasField("table_clause"):
        return True
    return argument.HasField("expr") and _innermost(argument.expr)[0] == "ASTExpressionSubqueryProto"


def _messages(node: Any, *names: str, outermost: bool = False) -> Iterator[Any]:
    """The messages of some types in a tree, inner ones before outer ones, or only the outermost ones."""
    if outermost and node.DESCRIPTOR.name in names:
        yield node
        return
    for described, value in node.ListFields():
        if described.message_type and described.name != "parse_location_range":
            for child in value if described.is_repeated else (value,):
                yield from _messages(child, *names, outermost=outermost)
    if node.DESCRIPTOR.name in names:
        yield node


def _path(path: Any) -> tuple[str, ...]:
    return tuple(part for name in path.names for part in name.id_string.split("."))


def _range(node: Any) -> tuple[int, int]:
    """The offsets of a node's first byte and of the byte after its last one."""
    while not hasattr(node, "parse_location_range"):
        node = _innermost(node)[1].parent
    return node.parse_location_range.start, node.parse_location_range.end


def _catalog(catalog: Catalog, connections: Iterable[tuple[str, ...]]) -> simple_catalog_pb2.SimpleCatalogProto:
    """The catalog with each table under every form of its name: quoted as a whole, in parts, without a project."""
    root = simple_catalog_pb2.SimpleCatalogProto()
    root.builtin_function_options.language_options.CopyFrom(_language())
    inner: dict[tuple[str, ...], Any] = {(): root}

    def inside(*path: str) -> Any:
        if path not in inner:
            inner[path] = inside(*path[:-1]).catalog.add(name=path[-1])
        return inner[path]

    for path in connections:
        inside(*path[:-1]).connection.add(name=path[-1])
    for name, columns in catalog.tables.items():
        *project, dataset, table = name.rsplit(".", 2)
        forms = [(*project, dataset, table)]
        if project == [catalog.default_project]:
            forms.append((dataset, table))
        for form in forms:
            for cut in range(1 << (len(form) - 1)):  # each dot is inside of a quoted name, or between two names
                parts = [form[0]]
                for index, part in enumerate(form[1:]):
                    parts = [*parts[:-1], f"{parts[-1]}.{part}"] if cut >> index & 1 else [*parts, part]
                added = inside(*parts[:-1]).table.add(name=parts[-1])
                for column, kind in columns.items():
                    added.column.add(name=column, type=_to_proto(kind), is_pseudo_column=column in _PSEUDO_COLUMNS)
    return root


def _add_function(catalog: Any, name: str, returned: Type) -> None:
    """Add a function with any arguments. It may have an OVER clause, as the functions of TRANSFORM clauses have."""
    for mode in (kinds.FunctionEnums.SCALAR, kinds.FunctionEnums.ANALYTIC):
        is_analytic = mode == kinds.FunctionEnums.ANALYTIC
        if is_analytic != (name in _ANALYTIC):
            continue
        function = catalog.custom_function.add(name_path=[name], group="BigQuery ML", mode=mode)
        function.options.supports_over_clause = is_analytic
        signature = function.signature.add()
        argument = signature.argument.add(kind=kinds.ARG_TYPE_ARBITRARY)
        argument.options.cardinality = kinds.FunctionEnums.REPEATED
        signature.return_type.kind = kinds.ARG_TYPE_FIXED
        signature.return_type.type.CopyFrom(_to_proto(returned))
        signature.return_type.num_occurrences = 1


def _add_aggregate(catalog: Any, name: str) -> None:
    """Add an aggregate function of two arguments that returns a value of the first one."""
    function = catalog.custom_function.add(name_path=[name], group="BigQuery", mode=kinds.FunctionEnums.AGGREGATE)
    signature = function.signature.add()
    signature.argument.add(kind=kinds.ARG_TYPE_ANY_1, num_occurrences=1)
    signature.argument.add(kind=kinds.ARG_TYPE_ARBITRARY, num_occurrences=1)
    signature.return_type.kind = kinds.ARG_TYPE_ANY_1
    signature.return_type.num_occurrences = 1


_ANALYTIC = frozenset(
    {
        "IMPUTER",
        "LABEL_ENCODER",
        "MAX_ABS_SCALER",
        "MIN_MAX_SCALER",
        "MULTI_HOT_ENCODER",
        "ONE_HOT_ENCODER",
        "QUANTILE_BUCKETIZE",
        "ROBUST_SCALER",
        "STANDARD_SCALER",
        "TF_IDF",
        "BAG_OF_WORDS",
    }
)
"""The functions of BigQuery ML that have an OVER clause.

Source: https://cloud.google.com/bigquery/docs/manual-preprocessing
"""


def _add_table_function(catalog: Any, name: str, call: TableFunctionCall, output: Output) -> None:
    function = catalog.custom_tvf.add(name_path=[name])
    function.type = (
        kinds.FunctionEnums.FORWARD_INPUT_SCHEMA_TO_OUTPUT_SCHEMA_WITH_APPENDED_COLUMNS
        if output.keeps_input
        else kinds.FunctionEnums.FIXED_OUTPUT_SCHEMA_TVF
    )
    signature = function.signature
    node = call._node  # noqa: SLF001  of this module
    arguments = [argument for argument in node.argument_entries if not argument.HasField("model_clause")]
    if output.keeps_input and not _is_relation(arguments[0]):
        raise GoogleSqlError(f"{call.function} takes a query or TABLE after the model", call.offset)
    for argument in arguments:
        kind = kinds.ARG_TYPE_RELATION if _is_relation(argument) else kinds.ARG_TYPE_ARBITRARY
        signature.argument.add(kind=kind, num_occurrences=1)
    signature.return_type.kind = kinds.ARG_TYPE_RELATION
    signature.return_type.num_occurrences = 1
    columns = function_pb2.TVFRelationProto()
    for column, kind in output.columns.items():
        columns.column.add(name=column, type=_to_proto(kind))
    if output.keeps_input:
        # ZetaSQL reads a message from this field, although the field is declared as text.
        number = function.DESCRIPTOR.fields_by_name["custom_context"].number
        data = columns.SerializeToString()
        function.MergeFromString(_varint(number << 3 | 2) + _varint(len(data)) + data)
    else:
        signature.return_type.options.relation_input_schema.CopyFrom(columns)


def _varint(number: int) -> bytes:
    """A number as protobuf writes it."""
    more, low = divmod(number, 128)
    return bytes([low | 128]) + _varint(more) if more else bytes([low])


def _to_proto(kind: Type) -> Any:
    name = "DOUBLE" if kind.kind == "FLOAT64" else kind.kind
    proto = type_pb2.TypeProto(type_kind=type_pb2.TypeKind.Value(f"TYPE_{name}"))
    if kind.kind == "STRUCT":
        proto.struct_type.SetInParent()
        for name, inner in kind.fields:
            proto.struct_type.field.add(field_name=name, field_type=_to_proto(inner))
    elif kind.element:
        getattr(proto, f"{kind.kind.lower()}_type").element_type.CopyFrom(_to_proto(kind.element))
    return proto


def _from_proto(proto: Any) -> Type:
    name = type_pb2.TypeKind.Name(proto.type_kind).removeprefix("TYPE_")
    if name == "STRUCT":
        fields = proto.struct_type.field
        return Type("STRUCT", tuple((each.field_name, _from_proto(each.field_type)) for each in fields))
    if name in ("ARRAY", "RANGE"):
        return Type(name, element=_from_proto(getattr(proto, f"{name.lower()}_type").element_type))
    return Type("FLOAT64" if name == "DOUBLE" else name)


def _analysis(resolved: Any) -> Analysis:
    _, statement = _innermost(resolved)
    columns = getattr(statement, "output_column_list", ())
    inputs: dict[int, Mapping[str, Type]] = {}
    for scan in _messages(resolved, "ResolvedTVFScanProto"):
        index = int(scan.tvf.name.rpartition("_")[2])
        for argument in scan.signature.argument:
            if argument.HasField("relation_argument"):
                used = argument.relation_argument.column
                inputs[index] = {column.name: _from_proto(column.type) for column in used}
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
        for reference in _messages(each, "ResolvedColumnRefProto")
    }
    return Analysis(
        columns=[(column.name, _from_proto(column.column.type)) for column in columns],
        options={option.name.lower(): value for option in listed if (value := _literal(option.value)) is not None},
        inputs=inputs,
        transform_inputs=frozenset(references) if transforms else None,
    )


def _literal(expression: Any) -> Any:
    """The value of a literal; a list of an array of literals; None of any other expression."""
    name, node = _innermost(expression)
    return _value(node.value.value) if name == "ResolvedLiteralProto" else None


def _value(value: Any) -> Any:
    which = value.WhichOneof("value")
    if which == "array_value":
        return [_value(each) for each in value.array_value.element]
    return getattr(value, which) if which else None


if __name__ == "__main__":
    _wasm()  # compiles the program, so that the first use need not
