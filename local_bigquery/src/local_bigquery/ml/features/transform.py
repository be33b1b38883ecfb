"""The TRANSFORM clause, which turns the columns of the training query into the columns that a model is trained on.

A clause is a list of expressions over the columns of the training query. They may contain preprocessing functions
(`preprocessing.py`). The clause is split into steps. In each step the emulator computes SQL expressions over the
existing columns; then preprocessing functions compute further columns from them, as Arrow columns. The next step can
use all of these columns. There is only one step unless a preprocessing function is part of a SQL expression.
https://cloud.google.com/bigquery/docs/reference/standard-sql/bigqueryml-syntax-create#transform
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Self

import pyarrow as pa
from sqlglot import exp

from local_bigquery.errors import invalid_query
from local_bigquery.ml.features.preprocessing import FUNCTIONS, Transformer, learn
from local_bigquery.sql import DIALECT

# The columns of a table in order, with the names of their fields (none if a column is no STRUCT).
Columns = Mapping[str, Sequence[str]]

_PREFIX = "ml_transform_"
_NAMESPACES = {"ML", "NET", "SAFE", "KEYS", "AEAD", "HLL_COUNT"}  # prefixes of functions that are not user-defined


@dataclass(frozen=True)
class Call:
    """A call of a preprocessing function.

    Attributes:
        result: the name of the column with the result.
        function: the name of the function in capitals without `ML.`.
        columns: the columns of its first argument. If that is a STRUCT, they are the fields by name; otherwise there is
            one column, with the name "".
        arguments: the SQL of its other arguments, which are constants.
    """

    result: str
    function: str
    columns: Mapping[str, str]
    arguments: tuple[str, ...]

    def input(self, rows: pa.Table) -> pa.ChunkedArray:
        """Return the first argument for every row."""
        if list(self.columns) == [""]:
            return rows[self.columns[""]]
        fields = [rows[column].combine_chunks() for column in self.columns.values()]
        return pa.chunked_array([pa.StructArray.from_arrays(fields, names=list(self.columns))])


@dataclass(frozen=True)
class Step:
    """A step of a clause.

    Attributes:
        expressions: SQL expressions by the name of the column with the result.
        calls: calls of preprocessing functions, which use these columns.
    """

    expressions: dict[str, str] = field(default_factory=dict)
    calls: list[Call] = field(default_factory=list)

    def apply(self, rows: pa.Table, transformers: Mapping[str, Transformer]) -> pa.Table:
        """Return rows with the results of the calls appended.

        Args:
            rows: the rows, with the results of the expressions.
            transformers: the transformers by the names of the results.
        """
        for call in self.calls:
            rows = rows.append_column(call.result, pa.chunked_array(transformers[call.result].apply(call.input(rows))))
        return rows

    def learn(self, rows: pa.Table, constants: Mapping[str, Any]) -> tuple[pa.Table, dict[str, Transformer]]:
        """Learn the parameters of the calls from the training rows.

        Args:
            rows: the training rows, with the results of the expressions.
            constants: the values of constant arguments by their SQL.

        Returns:
            The rows with the results of the calls appended, and the transformers by the names of the results.

        Raises:
            BigQueryError: `invalidQuery`, naming the function, if an argument is invalid.
        """
        transformers: dict[str, Transformer] = {}
        for call in self.calls:
            arguments = [constants[argument] for argument in call.arguments]
            transformers[call.result] = learn(call.function, call.input(rows), arguments)
            rows = Step(calls=[call]).apply(rows, transformers)
        return rows, transformers


@dataclass(frozen=True)
class Transform:
    """A TRANSFORM clause.

    Attributes:
        steps: the steps in order.
        outputs: the column with the values of each output column after all steps, by the name of the output column.
        expressions: the SQL of each output column as written, by its name.
        inputs: the columns of the training query that each output column uses, by its name.
        kept: the output columns that are no features, such as the label; an input may lack them.
        transformers: the learned transformers by the names of the results; empty before training.
    """

    steps: tuple[Step, ...]
    outputs: Mapping[str, str]
    expressions: Mapping[str, str]
    inputs: Mapping[str, tuple[str, ...]]
    kept: tuple[str, ...]
    transformers: Mapping[str, Transformer] = field(default_factory=dict)

    @classmethod
    def parse(cls, select_list: Sequence[exp.Expr], columns: Columns, kept: Sequence[str]) -> Self:
        """Return a clause that has not learned yet.

        Args:
            select_list: the expressions in the parentheses.
            columns: the columns of the training query.
            kept: the columns that are no features, such as the label. The clause must pass them on unchanged.

        Raises:
            BigQueryError: `invalidQuery` if the clause contains something that is not allowed in it.
        """
        builder = _StepBuilder()
        outputs: dict[str, str] = {}
        expressions: dict[str, str] = {}
        inputs: dict[str, tuple[str, ...]] = {}
        names = {name.lower(): name for name in columns}
        for name, expression in _output_columns(select_list, columns):
            if name.lower() in {output.lower() for output in outputs}:
                raise invalid_query(f"TRANSFORM has two columns {name!r}")
            _check(expression)
            used = [column.parts[0].name.lower() for column in expression.find_all(exp.Column)]
            inputs[name] = tuple(dict.fromkeys(names[column] for column in used if column in names))
            expressions[name] = expression.sql(DIALECT)
            outputs[name] = builder.add(expression.copy())[0]
        for name in kept:
            written = {output.lower(): sql.strip("`").lower() for output, sql in expressions.items()}
            if name.lower() in names and written.get(name.lower()) != name.lower():
                raise invalid_query(
                    f"TRANSFORM must hold the column {name!r} as it is, without an expression or an alias: it is the "
                    "label, or splits the data"
                )
        return cls(tuple(builder.steps), outputs, expressions, inputs, tuple(kept))

    @property
    def constants(self) -> set[str]:
        """The SQL of all constant arguments of calls."""
        return {argument for step in self.steps for call in step.calls for argument in call.arguments}

    @property
    def feature_inputs(self) -> list[str]:
        """The columns of the training query that features use."""
        kept = {name.lower() for name in self.kept}
        used = [column for name, columns in self.inputs.items() if name.lower() not in kept for column in columns]
        return list(dict.fromkeys(used))

    def applicable(self, columns: Sequence[str]) -> Self:
        """Return the clause for an input that may lack the columns that are no features.

        Args:
            columns: the columns of the input.

        Raises:
            BigQueryError: `invalidQuery` if a column that a feature uses is missing.
        """
        present, optional = ({name.lower() for name in names} for names in (columns, self.kept))
        missing = {
            name: [column for column in used if column.lower() not in present] for name, used in self.inputs.items()
        }
        for name, absent in missing.items():
            if absent and name.lower() not in optional:
                raise invalid_query(
                    f"Column {absent[0]!r}, which the TRANSFORM clause of the model uses, is missing in the input, "
                    f"which has {', '.join(columns)}"
                )
        outputs = {name: column for name, column in self.outputs.items() if not missing[name]}
        excluded = set(self.outputs.values()) - set(outputs.values())
        steps = tuple(
            Step({name: sql for name, sql in step.expressions.items() if name not in excluded}, step.calls)
            for step in self.steps
        )
        return replace(self, steps=steps, outputs=outputs)

    def result(self, rows: pa.Table) -> pa.Table:
        """Return the output columns of rows after all steps."""
        return pa.table({name: rows[column] for name, column in self.outputs.items()})


class _StepBuilder:
    """Assigns expressions and calls to steps."""

    def __init__(self) -> None:
        self.steps = [Step()]
        self._count = 0

    def add(self, expression: exp.Expr) -> tuple[str, int]:
        """Add an expression; return the column with its value, and the number of the step that computes it."""
        call = _call(expression)
        if call is not None:
            return self._add_call(*call)
        step = 0
        for inner in list(_outermost_calls(expression)):
            column, computed = self.add(inner.copy())
            inner.replace(exp.column(column))
            step = max(step, computed + 1)
        return self._add_expression(expression, step), step

    def _add_expression(self, expression: exp.Expr, step: int) -> str:
        if step == len(self.steps):
            self.steps.append(Step())
        sql = expression.sql(DIALECT)
        for column, present in self.steps[step].expressions.items():
            if present == sql:
                return column
        column = self._new_column()
        self.steps[step].expressions[column] = sql
        return column

    def _add_call(self, function: str, arguments: Sequence[exp.Expr]) -> tuple[str, int]:
        fields = {"": arguments[0]}
        if isinstance(arguments[0], exp.Struct) and function == "FEATURE_CROSS":
            fields = dict(map(_struct_field, arguments[0].expressions))
            if len(fields) < len(arguments[0].expressions):
                raise invalid_query("ML.FEATURE_CROSS needs a STRUCT whose fields have different names")
        added = {name: self.add(value.copy()) for name, value in fields.items()}
        step = max(step for _, step in added.values())
        result = self._new_column()
        columns = {name: column for name, (column, _) in added.items()}
        constants = tuple(argument.sql(DIALECT) for argument in arguments[1:])
        self.steps[step].calls.append(Call(result, function, columns, constants))
        return result, step

    def _new_column(self) -> str:
        self._count += 1
        return f"{_PREFIX}{self._count}"


def _output_columns(select_list: Sequence[exp.Expr], columns: Columns) -> Iterator[tuple[str, exp.Expr]]:
    """Yield name and expression of every output column; `*` is expanded to the columns of the training query."""
    for item in select_list:
        match item:
            case exp.Star():
                yield from _star(item, columns)
            case exp.Column(this=exp.Star()):
                yield from _fields(item, columns)
            case exp.Alias():
                yield item.alias, item.this
            case exp.Column():
                yield item.name, item
            case _:
                raise invalid_query(
                    f"TRANSFORM cannot have a column without a name: {item.sql(DIALECT)}; add AS and a name"
                )


def _star(star: exp.Star, columns: Columns) -> Iterator[tuple[str, exp.Expr]]:
    excluded = {column.name.lower() for column in star.args.get("except_") or []}
    replaced = {alias.alias.lower(): alias.this for alias in star.args.get("replace") or []}
    unknown = (excluded | set(replaced)) - {name.lower() for name in columns}
    if unknown:
        raise invalid_query(f"TRANSFORM: {star.sql(DIALECT)} names {', '.join(sorted(unknown))}, which is no column")
    for name in columns:
        if name.lower() not in excluded:
            yield name, replaced.get(name.lower(), exp.column(name, quoted=True))


def _fields(item: exp.Column, columns: Columns) -> Iterator[tuple[str, exp.Expr]]:
    """Yield the fields of `column.*`."""
    name = next((name for name in columns if name.lower() == item.table.lower()), None)
    if name is None or not columns[name]:
        raise invalid_query(f"TRANSFORM: {item.sql(DIALECT)} does not name a column of type STRUCT")
    for part in columns[name]:
        yield part, exp.column(part, table=name, quoted=True)


def _struct_field(node: exp.Expr) -> tuple[str, exp.Expr]:
    if isinstance(node, exp.PropertyEQ):
        return node.this.name, node.expression
    if isinstance(node, exp.Column):
        return node.name, node
    raise invalid_query(f"ML.FEATURE_CROSS needs a name for {node.sql(DIALECT)}: STRUCT(... AS name)")


def _call(node: exp.Expr) -> tuple[str, Sequence[exp.Expr]] | None:
    """Return function and arguments of a node that calls a preprocessing function; None for any other node.

    Raises:
        BigQueryError: `invalidQuery` if there is no such function, or OVER() is missing or superfluous.
    """
    called = node.this if isinstance(node, exp.Window) else node
    if not _is_ml_function(called):
        return None
    name = called.expression.name.upper()
    function = FUNCTIONS.get(name)
    if function is None:
        known = ", ".join(f"ML.{known}" for known in sorted(FUNCTIONS))
        raise invalid_query(f"ML.{name} is not supported in TRANSFORM by the local BigQuery ML; it has {known}")
    if isinstance(node, exp.Window) and any(node.args.get(part) for part in ("partition_by", "order", "spec", "alias")):
        raise invalid_query(f"ML.{name} needs an empty OVER()")
    if function.analytic is not isinstance(node, exp.Window):
        raise invalid_query(f"ML.{name} needs OVER()" if function.analytic else f"ML.{name} takes no OVER()")
    arguments = called.expression.expressions
    if not arguments:
        raise invalid_query(f"ML.{name} needs an argument")
    return name, arguments


def _outermost_calls(expression: exp.Expr) -> Iterator[exp.Expr]:
    for node in expression.walk(prune=lambda node: node is not expression and _call(node) is not None):
        if _call(node) is not None:
            yield node


def _is_ml_function(node: Any) -> bool:
    return isinstance(node, exp.Dot) and isinstance(node.expression, exp.Anonymous) and node.this.name.upper() == "ML"


def _check(expression: exp.Expr) -> None:
    """Refuse expressions that BigQuery does not allow in the clause."""
    for node in expression.walk():
        reason = None
        match node:
            case exp.Window() if not _is_ml_function(node.this):
                reason = "analytic functions other than those of BigQuery ML are not allowed"
            case exp.AggFunc():
                reason = "aggregate functions are not allowed"
            case exp.Query():
                reason = "subqueries are not allowed"
            case exp.Parameter() | exp.Placeholder():
                reason = "query parameters are not allowed, because the model keeps the clause"
            case exp.Dot(expression=exp.Anonymous()) if node.this.name.upper() not in _NAMESPACES:
                reason = "user-defined functions are not allowed"
        if reason is not None:
            raise invalid_query(f"TRANSFORM: {node.sql(DIALECT)}: {reason}")
