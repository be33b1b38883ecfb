"""The names of a script: variables, temporary tables and temporary functions.

The emulator receives the statements of a script one by one. So variables become query parameters, and temporary tables
and functions get names in the hidden dataset.
"""

from dataclasses import dataclass
from typing import Any

from sqlglot import exp

from local_bigquery.analyzer import type_of
from local_bigquery.backend.emulator import TableName
from local_bigquery.errors import invalid_query
from local_bigquery.run.analysis import Names, parameter_type
from local_bigquery.run.scratch import Scratch
from local_bigquery.sql import DIALECT
from local_bigquery.sql.ml_calls import rename
from local_bigquery.sql.parameters import Parameter

_PREFIX = "_variable_"


@dataclass(frozen=True)
class Variable:
    """A variable: its value as a query parameter, and its declared type, if any."""

    value: Parameter
    declared_type: str | None = None


def parameter_name(variable: str) -> str:
    """Return the name of the query parameter for a variable."""
    return f"{_PREFIX}{variable.lower()}"


class ScriptNames:
    """The names that are visible at the current step of a script."""

    def __init__(self, scratch: Scratch) -> None:
        self._scratch = scratch
        self._blocks: list[dict[str, Variable]] = [{}]
        self._tables: dict[str, TableName] = {}
        self._functions: dict[str, TableName] = {}
        self._errors: list[str] = []

    def open_block(self, error: str | None = None) -> None:
        """Begin a block.

        Args:
            error: the message of the error, if the block is an exception handler.
        """
        self._blocks.append({})
        if error is not None:
            self._errors.append(error)

    def close_block(self, *, handler: bool = False) -> None:
        """End the innermost block and its variables."""
        self._blocks.pop()
        if handler:
            self._errors.pop()

    def declare(self, name: str, variable: Variable) -> None:
        """Create a variable in the innermost block.

        Raises:
            BigQueryError: `invalidQuery` if the name is in use.
        """
        if any(name.lower() in block for block in self._blocks):
            raise invalid_query(f"Variable {name!r} redeclared")
        self._blocks[-1][name.lower()] = variable

    def variable(self, name: str) -> Variable:
        """Return a variable.

        Raises:
            BigQueryError: `invalidQuery` if the variable does not exist.
        """
        for block in reversed(self._blocks):
            if name.lower() in block:
                return block[name.lower()]
        raise invalid_query(f"Undeclared variable: {name}")

    def visible(self) -> Names:
        """Return the names that an analysis of the next statement needs."""
        variables = {name: variable for block in self._blocks for name, variable in block.items()}
        kinds = {
            name: type_of(variable.declared_type)
            if variable.declared_type
            else parameter_type(variable.value["parameterType"])
            for name, variable in variables.items()
        }
        return Names(kinds, self._tables, self._functions)

    def assign(self, name: str, value: Parameter) -> None:
        """Change the value of a variable.

        Raises:
            BigQueryError: `invalidQuery` if the variable does not exist.
        """
        declared = self.variable(name).declared_type
        block = next(block for block in self._blocks if name.lower() in block)
        block[name.lower()] = Variable(value, declared)

    def bind(self, tree: exp.Expr, *, variables: bool = True) -> list[Parameter]:
        """Replace the names in a statement, in place.

        Args:
            tree: the statement.
            variables: whether variables are visible in it.

        Returns:
            The query parameters for its variables.
        """
        self._bind_functions(tree)
        self._bind_tables(tree)
        self._bind_error(tree)
        return self._bind_variables(tree) if variables else []

    def _bind_variables(self, tree: exp.Expr) -> list[Parameter]:
        visible = {name: variable for block in self._blocks for name, variable in block.items()}
        used: dict[str, Parameter] = {}
        for column in list(tree.find_all(exp.Column)):
            if isinstance(column.this, exp.Star):
                continue
            first, *rest = column.parts
            variable = visible.get(first.name.lower())
            if variable is None or (rest and variable.value["parameterType"]["type"] != "STRUCT"):
                continue
            value: exp.Expr = exp.Parameter(this=exp.Var(this=variable.value["name"]))
            for part in rest:
                value = exp.Dot(this=value, expression=part.copy())
            if column.arg_key == "expressions" and isinstance(column.parent, exp.Select):
                value = exp.alias_(value, column.name)
            column.replace(value)
            used[variable.value["name"]] = variable.value
        return list(used.values())

    def _bind_error(self, tree: exp.Expr) -> None:
        """Replace `@@error.message` by the message of the error that is being handled."""
        for dot in list(tree.find_all(exp.Dot)):
            if dot.sql(DIALECT).lower() == "@@error.message" and self._errors:
                message = exp.Literal.string(self._errors[-1])
                is_column = dot.arg_key == "expressions" and isinstance(dot.parent, exp.Select)
                dot.replace(exp.alias_(message, "message") if is_column else message)

    def _bind_tables(self, tree: exp.Expr) -> None:
        if isinstance(tree, exp.Create) and tree.kind == "TABLE" and _remove_temporary(tree):
            name = tree.this.this.name if isinstance(tree.this, exp.Schema) else tree.this.name
            self._tables.setdefault(name.lower(), self._scratch.new_table())
        for table in list(tree.find_all(exp.Table)):
            temporary = self._tables.get(table.name.lower()) if table.db.upper() in ("", "_SESSION") else None
            if temporary is None or _is_cte(table):
                continue
            if not table.alias and isinstance(table.parent, exp.From | exp.Join):
                table.set("alias", exp.TableAlias(this=table.this.copy()))
            rename(table, temporary.project, temporary.dataset, temporary.table)

    def _bind_functions(self, tree: exp.Expr) -> None:
        if isinstance(tree, exp.Create) and tree.kind == "FUNCTION" and _remove_temporary(tree):
            table = tree.this.this
            function = self._functions.setdefault(table.name.lower(), self._scratch.new_routine())
            rename(table, function.project, function.dataset, function.table)
        for call in list(tree.find_all(exp.Anonymous)):
            known: Any = self._functions.get(call.name.lower())
            if known is not None and not isinstance(call.parent, exp.Dot):
                renamed = exp.Anonymous(this=known.table, expressions=call.expressions)
                call.replace(exp.Dot(this=exp.to_identifier(known.dataset, quoted=True), expression=renamed))


def _remove_temporary(create: exp.Create) -> bool:
    """Remove TEMP from a CREATE statement; return True if it was there."""
    temporary = create.find(exp.TemporaryProperty)
    if temporary is None:
        return False
    temporary.pop()
    if not create.args["properties"].expressions:
        create.set("properties", None)
    return True


def _is_cte(table: exp.Table) -> bool:
    """Return True if a WITH clause around a table reference defines its name."""
    node: exp.Expr | None = table
    while node is not None and not table.db:
        clause = node.args.get("with_")
        if clause is not None and any(cte.alias.lower() == table.name.lower() for cte in clause.expressions):
            return True
        node = node.parent
    return False
