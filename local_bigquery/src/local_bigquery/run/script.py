"""Runs scripts: the gateway runs control statements, and passes on other statements one by one.

https://cloud.google.com/bigquery/docs/reference/standard-sql/procedural-language
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Literal, Protocol

import sqlglot
from sqlglot import exp

from local_bigquery.backend.emulator import JobResource, Result
from local_bigquery.errors import BigQueryError, invalid_query
from local_bigquery.run.analysis import Names
from local_bigquery.run.scratch import Scratch
from local_bigquery.run.script_names import ScriptNames, Variable, parameter_name
from local_bigquery.sql import DIALECT
from local_bigquery.sql.parameters import Parameter, parameter_of, python_value
from local_bigquery.sql.scripts import (
    Assert,
    Assign,
    Block,
    Declare,
    ExecuteImmediate,
    For,
    If,
    Jump,
    Loop,
    Raise,
    Sql,
    Step,
    Steps,
    as_query,
    name_parameters,
)
from local_bigquery.sql.statements import CreateModel, OtherStatement, Statement, parse

_USING = "_using_"


class StatementRunner(Protocol):
    """Runs the statements of a script under the id of its job."""

    async def run(self, statement: Statement, parameters: Sequence[Parameter]) -> JobResource:
        """Run a statement; its result replaces the result of the job."""

    async def check(self, sql: str, names: Names, parameters: Sequence[Parameter] = (), *, shown: str = "") -> None:
        """Analyse a statement before it runs.

        Args:
            sql: the statement.
            names: the names that it sees.
            parameters: query parameters beside those of the job.
            shown: the part of it that stands in the script; empty if all of it does.
        """

    async def run_nothing(self) -> JobResource:
        """Run a statement without effect or result."""

    async def rows(self, statement: OtherStatement, parameters: Sequence[Parameter]) -> Result:
        """Run a query and return its rows."""


class ScriptRun:
    """The run of one script.

    Args:
        runner: runs its statements.
        scratch: makes its temporary tables and functions, and drops them at the end.
    """

    def __init__(self, runner: StatementRunner, scratch: Scratch) -> None:
        self._runner = runner
        self._names = ScriptNames(scratch)
        self._handled: list[BigQueryError] = []
        self._result: JobResource | None = None

    async def run(self, steps: Steps) -> JobResource:
        """Run the script and return the resource of its job.

        Raises:
            BigQueryError: a statement failed.
        """
        try:
            await self._run_all(steps)
        except _Jump as jump:
            if jump.to != "RETURN":
                raise invalid_query(f"{jump.to} is only allowed inside of a loop body") from jump
        resource = self._result or await self._runner.run_nothing()
        match steps:
            case (Sql(),):
                return resource
            case (Assert(),):
                kind = "ASSERT"
            case _:
                kind = "SCRIPT"
        resource["statistics"]["query"]["statementType"] = kind
        return resource

    async def _run_all(self, steps: Steps) -> None:
        for step in steps:
            await self._run(step)

    async def _run(self, step: Step) -> None:
        match step:
            case Sql(text):
                await self._runner.check(text, self._names.visible())
                statement = parse(text)
                self._result = await self._runner.run(statement, self._bind(statement))
            case ExecuteImmediate(sql, into, using):
                await self._execute_immediate(sql, into, using)
            case Declare() | Assign():
                await self._set(step)
            case Assert(condition, description):
                await self._assert(condition, description)
            case Raise(message):
                await self._raise(message)
            case Jump(to):
                raise _Jump(to)
            case _:
                await self._control(step)

    async def _set(self, step: Declare | Assign) -> None:
        match step:
            case Declare(names, kind, default):
                for name in names:
                    self._names.declare(name, Variable(await self._value(default or "NULL", name, kind), kind))
            case Assign((name,), value):
                self._names.assign(name, await self._value(value, name, self._names.variable(name).declared_type))
            case Assign(names, value):
                await self._assign(names, value)

    async def _control(self, step: If | Loop | For | Block) -> None:
        match step:
            case If(branches, otherwise):
                await self._if(branches, otherwise)
            case Loop():
                await self._loop(step)
            case For(variable, query, body):
                await self._for(variable, query, body)
            case Block(body, handler):
                await self._block(body, handler)

    async def _assign(self, names: tuple[str, ...], value: str) -> None:
        """Assign the fields of a struct, such as `(1, 2)` or `(SELECT AS STRUCT ...)`, to variables."""
        struct = sqlglot.parse_one(as_query(value), read=DIALECT, into=exp.Select).selects[0].unnest()
        if isinstance(struct, exp.Tuple):
            items = [exp.alias_(item.unalias(), f"f{position}") for position, item in enumerate(struct.expressions)]
            fields, (values,) = await self._rows(exp.select(*items).sql(DIALECT))
        else:
            (field,), ((cell,),) = await self._rows(as_query(f"{value} AS value"))
            fields = field.get("fields", [])
            values = [part["v"] for part in cell["f"]] if cell is not None else [None] * len(fields)
        if len(fields) != len(names):
            raise invalid_query(f"SET of {len(names)} variables needs a struct of as many fields, not {value}")
        self._assign_cells(names, fields, values)

    def _assign_cells(self, names: tuple[str, ...], fields: Sequence[dict[str, Any]], values: Sequence[Any]) -> None:
        for name, field, value in zip(names, fields, values, strict=True):
            self._names.assign(name, parameter_of(parameter_name(name), field, value))

    async def _if(self, branches: tuple[tuple[str, Steps], ...], otherwise: Steps) -> None:
        for condition, body in branches:
            if await self._is_true(condition):
                return await self._run_all(body)
        return await self._run_all(otherwise)

    async def _loop(self, loop: Loop) -> None:
        while loop.condition is None or await self._is_true(loop.condition):
            if await self._run_body(loop.body) or (loop.until is not None and await self._is_true(loop.until)):
                return

    async def _for(self, variable: str, query: str, body: Steps) -> None:
        fields, rows = await self._rows(query)
        struct = {"name": variable, "type": "RECORD", "fields": fields}
        for row in rows:
            value = parameter_of(parameter_name(variable), struct, {"f": [{"v": cell} for cell in row]})
            self._names.open_block()
            try:
                self._names.declare(variable, Variable(value))
                if await self._run_body(body):
                    return
            finally:
                self._names.close_block()

    async def _run_body(self, body: Steps) -> bool:
        """Run the body of a loop once; return True if it ends the loop."""
        try:
            await self._run_all(body)
        except _Jump as jump:
            if jump.to == "RETURN":
                raise
            return jump.to == "BREAK"
        return False

    async def _block(self, body: Steps, handler: Steps | None) -> None:
        self._names.open_block()
        try:
            await self._run_all(body)
        except BigQueryError as error:
            if handler is None:
                raise
            failure: BigQueryError | None = error
        else:
            failure = None
        finally:
            self._names.close_block()
        if failure is not None:
            await self._handle(failure, handler or ())

    async def _handle(self, failure: BigQueryError, handler: Steps) -> None:
        self._handled.append(failure)
        self._names.open_block(failure.message)
        try:
            await self._run_all(handler)
        finally:
            self._names.close_block(handler=True)
            self._handled.pop()

    async def _assert(self, condition: str, description: str | None) -> None:
        if await self._is_true(condition):
            return
        why = "" if description is None else f": {python_value(await self._value(description, 'description'))}"
        raise invalid_query(f"Assertion failed{why}")

    async def _raise(self, message: str | None) -> None:
        if message is not None:
            raise invalid_query(str(python_value(await self._value(message, "message"))))
        if not self._handled:
            raise invalid_query("RAISE without USING MESSAGE is only allowed in an exception handler")
        raise self._handled[-1]

    async def _execute_immediate(self, sql: str, into: tuple[str, ...], using: tuple[str, ...]) -> None:
        text, count = name_parameters(str(python_value(await self._value(sql, "sql"))), _USING)
        parameters = []
        for position, item in enumerate(using):
            name = sqlglot.parse_one(as_query(item), read=DIALECT, into=exp.Select).selects[0].alias
            parameters.append({**await self._value(item, "value"), "name": name or f"{_USING}{position}"})
        if count > len(parameters):
            raise invalid_query(f"EXECUTE IMMEDIATE has {count} parameters (?), but {len(parameters)} values for them")
        await self._runner.check(text, replace(self._names.visible(), variables={}), parameters)
        statement = parse(text)
        self._bind(statement, variables=False)
        if not into:
            self._result = await self._runner.run(statement, parameters)
            return
        if not isinstance(statement, OtherStatement):
            raise invalid_query("EXECUTE IMMEDIATE ... INTO needs a query")
        fields, rows = await self._runner.rows(statement, parameters)
        if len(rows) > 1 or len(fields) != len(into):
            raise invalid_query(f"EXECUTE IMMEDIATE ... INTO needs at most one row of {len(into)} columns")
        self._assign_cells(into, fields, rows[0] if rows else [None] * len(into))

    async def _is_true(self, condition: str) -> bool:
        return python_value(await self._value(condition, "condition", "BOOL")) is True

    async def _value(self, expression: str, name: str, kind: str | None = None) -> Parameter:
        """Return the value of an expression as the query parameter of a variable.

        Args:
            expression: the expression.
            name: the name of the variable.
            kind: the type of the variable; None for the type of the expression.
        """
        plain = kind is None or kind.upper().startswith(("ARRAY", "STRUCT"))
        query = as_query(expression if plain else f"CAST({expression}\n AS {kind})")
        (field, *_), (row, *_) = await self._rows(query, expression)
        return parameter_of(parameter_name(name), field, row[0])

    async def _rows(self, query: str, shown: str = "") -> Result:
        await self._runner.check(query, self._names.visible(), shown=shown)
        statement = parse(query)
        if not isinstance(statement, OtherStatement):
            raise invalid_query(f"{query.strip()} is not a query")
        return await self._runner.rows(statement, self._bind(statement))

    def _bind(self, statement: Statement, *, variables: bool = True) -> list[Parameter]:
        match statement:
            case CreateModel():
                return self._names.bind(statement.query, variables=variables)
            case OtherStatement(_, tree) if tree is not None:
                return self._names.bind(tree, variables=variables)
        return []


class _Jump(Exception):  # noqa: N818  control flow, not an error
    def __init__(self, to: Literal["BREAK", "CONTINUE", "RETURN"]) -> None:
        super().__init__(to)
        self.to = to
