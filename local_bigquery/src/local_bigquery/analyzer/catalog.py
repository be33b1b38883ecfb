"""The catalog of a statement: the tables and functions that it may use, and its form for ZetaSQL."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from zetasql.wasi._pb2.zetasql.proto import function_pb2, simple_catalog_pb2
from zetasql.wasi._pb2.zetasql.public import function_pb2 as kinds

from local_bigquery.analyzer.messages import GoogleSqlError
from local_bigquery.analyzer.service import functions_of_bigquery
from local_bigquery.analyzer.syntax import TableFunctionCall
from local_bigquery.analyzer.types import Type, to_proto

_TYPE_ALIASES = {
    **dict.fromkeys(("INT", "SMALLINT", "INTEGER", "BIGINT", "TINYINT", "BYTEINT"), "INT64"),
    "BOOLEAN": "BOOL",
}
"""Names of types that ZetaSQL does not know. Source: https://cloud.google.com/bigquery/docs/reference/standard-sql/data-types"""

_PSEUDO_COLUMNS = {"_TABLE_SUFFIX", "_PARTITIONTIME", "_PARTITIONDATE"}


_ONLY_IN_BIGQUERY = {
    "COLLATE": Type("STRING"),
    "CONTAINS_SUBSTR": Type("BOOL"),
    "SEARCH": Type("BOOL"),
    "TEXT_ANALYZE": Type.array(Type("STRING")),
}
"""Functions of BigQuery that ZetaSQL does not have, and the types that they return.

Source: https://cloud.google.com/bigquery/docs/reference/standard-sql/functions-all
"""


@dataclass(frozen=True)
class Output:
    """The columns of a table function. With `keeps_input`, they are added to the columns of its input."""

    columns: Mapping[str, Type]
    keeps_input: bool = False


@dataclass(frozen=True)
class Function:
    """A function of SQL that a team made, with the types of its arguments and of its value."""

    arguments: tuple[Type, ...]
    returned: Type


@dataclass(frozen=True)
class Catalog:
    """The tables and functions that a statement may use.

    Attributes:
        tables: the columns of each table, by PROJECT.DATASET.TABLE; a name of one part is a temporary table.
        default_project: the project of names without one.
        output: returns the columns of a call; None if they are not known. It may raise GoogleSqlError.
        functions: return types of scalar functions, by their names, such as ML.BUCKETIZE.
        default_dataset: the dataset of names without one; None if there is none.
        routines: functions that a team made, by PROJECT.DATASET.NAME or, if temporary, by one part; None if it is not
            known which functions exist.
        variables: the types of the variables of a script.
        parameters: the types of the query parameters by name, or in order; None accepts any.
    """

    tables: Mapping[str, Mapping[str, Type]]
    default_project: str
    output: Callable[[TableFunctionCall], Output | None] = lambda _: None
    functions: Mapping[str, Type] = field(default_factory=dict)
    default_dataset: str | None = None
    routines: Mapping[str, Function] | None = None
    variables: Mapping[str, Type] = field(default_factory=dict)
    parameters: Mapping[str, Type] | tuple[Type, ...] | None = None

    def forms(self, name: str) -> list[tuple[str, ...]]:
        """Return every form of a name: with and without project and dataset."""
        parts = tuple(name.split("."))
        forms = [parts]
        if parts[0] == self.default_project and len(parts) > 1:
            forms.append(parts[1:])
            if parts[1] == self.default_dataset and len(parts) > 2:  # noqa: PLR2004  a name is left
                forms.append(parts[2:])
        return forms

    def to_proto(self, connections: Iterable[tuple[str, ...]] = ()) -> simple_catalog_pb2.SimpleCatalogProto:
        """Return the catalog as ZetaSQL's message.

        Args:
            connections: the names of connections that the statement uses.
        """
        root = simple_catalog_pb2.SimpleCatalogProto()
        root.builtin_function_options.CopyFrom(functions_of_bigquery())
        inner: dict[tuple[str, ...], Any] = {(): root}

        def inside(*path: str) -> Any:
            if path not in inner:
                inner[path] = inside(*path[:-1]).catalog.add(name=path[-1])
            return inner[path]

        for path in connections:
            inside(*path[:-1]).connection.add(name=path[-1])
        for name, columns in self.tables.items():
            for path in self.forms(name):
                added = inside(*path[:-1]).table.add(name=path[-1], full_name=name)
                for column, kind in columns.items():
                    added.column.add(name=column, type=to_proto(kind), is_pseudo_column=column in _PSEUDO_COLUMNS)
        for name, function in (self.routines or {}).items():
            for path in self.forms(name):
                _add_routine(inside(*path[:-1]), path, function)
        for name, kind in self.variables.items():
            root.constant.add(name_path=[name], type=to_proto(kind))
        _add_names_of_bigquery(root, inside("ML"), {**_ONLY_IN_BIGQUERY, **self.functions})
        return root


def _add_routine(catalog: Any, path: tuple[str, ...], function: Function) -> None:
    """Add a function that a team made. Its path begins at the root of the catalog."""
    added = catalog.custom_function.add(name_path=list(path), group="Routine", mode=kinds.FunctionEnums.SCALAR)
    signature = added.signature.add()
    for argument in (*function.arguments, function.returned):
        is_value = argument is function.returned and len(signature.argument) == len(function.arguments)
        message = signature.return_type if is_value else signature.argument.add()
        message.kind, message.num_occurrences = kinds.ARG_TYPE_FIXED, 1
        message.type.CopyFrom(to_proto(argument))


def _add_names_of_bigquery(root: Any, ml: Any, functions: Mapping[str, Type]) -> None:
    """Add what ZetaSQL lacks: names of types, and functions."""
    for alias, kind in _TYPE_ALIASES.items():
        root.named_type.add(name=alias, type=to_proto(Type(kind)))
    for name in ("MAX_BY", "MIN_BY"):
        _add_aggregate(root, name)
    for name, returned in functions.items():
        _add_function(ml if name.startswith("ML.") else root, name.rpartition(".")[2], returned)


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
        signature.return_type.type.CopyFrom(to_proto(returned))
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


def add_table_function(catalog: Any, name: str, call: TableFunctionCall, output: Output) -> None:
    """Add the function of a call under a name of its own, without the model.

    Raises:
        GoogleSqlError: the call lacks the input whose columns it returns.
    """
    function = catalog.custom_tvf.add(name_path=[name])
    function.type = (
        kinds.FunctionEnums.FORWARD_INPUT_SCHEMA_TO_OUTPUT_SCHEMA_WITH_APPENDED_COLUMNS
        if output.keeps_input
        else kinds.FunctionEnums.FIXED_OUTPUT_SCHEMA_TVF
    )
    signature = function.signature
    if output.keeps_input and not call.relations[0]:
        raise GoogleSqlError(f"{call.function} takes a query or TABLE after the model", call.offset)
    for is_relation in call.relations:
        kind = kinds.ARG_TYPE_RELATION if is_relation else kinds.ARG_TYPE_ARBITRARY
        signature.argument.add(kind=kind, num_occurrences=1)
    signature.return_type.kind = kinds.ARG_TYPE_RELATION
    signature.return_type.num_occurrences = 1
    columns = function_pb2.TVFRelationProto()
    for column, column_type in output.columns.items():
        columns.column.add(name=column, type=to_proto(column_type))
    if output.keeps_input:
        # ZetaSQL reads a message from this field, although the field is declared as text.
        number = function.DESCRIPTOR.fields_by_name["custom_context"].number
        data = columns.SerializeToString()
        function.MergeFromString(_varint(number << 3 | 2) + _varint(len(data)) + data)
    else:
        signature.return_type.options.relation_input_schema.CopyFrom(columns)


def _varint(number: int) -> bytes:
    """Return a number as protobuf writes it."""
    more, low = divmod(number, 128)
    return bytes([low | 128]) + _varint(more) if more else bytes([low])
