"""Runs TRANSFORM clauses: their SQL expressions on the emulator, their preprocessing functions on Arrow columns."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import replace
from decimal import Decimal
from typing import Any

import pyarrow as pa
import sqlglot
from sqlglot import exp

from local_bigquery.backend.emulator import TableName
from local_bigquery.errors import BigQueryError
from local_bigquery.ml.features.preprocessing import Transformer
from local_bigquery.ml.features.transform import Step, Transform
from local_bigquery.run.scratch import Schema, Scratch
from local_bigquery.sql.generator import to_sql
from local_bigquery.sql.rewrites.integer_division import integer_division
from local_bigquery.sql.statements import DIALECT, constant

# Options that name a column which a clause must pass on as it is.
_KEPT = ("input_label_cols", "data_split_col", "instance_weight_col", "kmeans_init_col")
_DEFAULT_LABEL = "label"


def parse(select_list: Sequence[exp.Expr], columns: Schema, options: Mapping[str, Any]) -> Transform:
    """Return a clause as a transform that has not learned yet.

    Args:
        select_list: What stands in the parentheses.
        columns: The columns of the training query.
        options: The complete options of CREATE MODEL.

    Raises:
        BigQueryError: `invalidQuery`, naming what is not allowed in the clause.
    """
    kept = [options[option] for option in _KEPT if options.get(option) is not None]
    if "input_label_cols" in options and options["input_label_cols"] is None:
        kept.append(_DEFAULT_LABEL)
    fields = {
        column["name"]: [field["name"] for field in column.get("fields", ()) if column.get("mode") != "REPEATED"]
        for column in columns
    }
    return Transform.parse(select_list, fields, kept)


async def learn(
    transform: Transform, table: TableName, columns: Schema, scratch: Scratch
) -> tuple[Transform, pa.Table, pa.Table]:
    """Learn from the rows of a training query.

    Args:
        transform: The transform.
        table: The rows.
        columns: The columns of the table.
        scratch: Takes temporary tables.

    Returns:
        The transform, ready to be applied; the output columns of these rows, and what their features are made from.

    Raises:
        BigQueryError: If an expression cannot be computed, or an argument does not fit its function.
    """
    constants = await _constants(sorted(transform.constants), table.project, scratch)
    transformers: dict[str, Transformer] = {}
    rows: pa.Table = None
    for number, step in enumerate(transform.steps):
        rows = (
            await _extended(table, _names(columns), step, scratch) if number == 0 else await _again(rows, step, scratch)
        )
        rows, learned = await asyncio.to_thread(step.learn, rows, constants)
        transformers |= learned
    ready = replace(transform, transformers=transformers)
    return ready, transform.result(rows), rows.select(transform.feature_inputs)


async def apply(transform: Transform, table: TableName, columns: Schema, scratch: Scratch) -> tuple[pa.Table, pa.Table]:
    """Apply a transform that has learned.

    Args:
        transform: The transform.
        table: The rows.
        columns: The columns of the table.
        scratch: Takes temporary tables.

    Returns:
        The rows as they are, and the output columns of the same rows.

    Raises:
        BigQueryError: If a column is missing, or of a type that does not fit.
    """
    names = _names(columns)
    transform = transform.applicable(names)
    rows: pa.Table = None
    for number, step in enumerate(transform.steps):
        rows = await _extended(table, names, step, scratch) if number == 0 else await _again(rows, step, scratch)
        rows = await asyncio.to_thread(step.apply, rows, transform.transformers)
    return rows.select(names), transform.result(rows)


async def _again(rows: pa.Table, step: Step, scratch: Scratch) -> pa.Table:
    """Return rows that have been through a step with the results of the next step's expressions appended."""
    return await _extended(await scratch.write(rows, []), rows.column_names, step, scratch)


async def _extended(table: TableName, names: Sequence[str], step: Step, scratch: Scratch) -> pa.Table:
    """Return the named columns of a table with the results of the step's expressions appended."""
    # The columns are named because the emulator leaves STRUCTs out of `*` next to some functions.
    items = [*(f"`{name}`" for name in names), *(f"{sql} AS {name}" for name, sql in step.expressions.items())]
    select = sqlglot.parse_one(f"SELECT {', '.join(items)} FROM {table.sql}", read=DIALECT)
    integer_division(select)
    extended = await scratch.create(to_sql(select), table.project, {})
    return await scratch.read(extended)


def _names(columns: Schema) -> list[str]:
    return [column["name"] for column in columns]


async def _constants(expressions: Sequence[str], project: str, scratch: Scratch) -> dict[str, Any]:
    """Return the value of constant expressions, by their SQL."""
    values, others = {}, []
    for sql in expressions:
        try:
            values[sql] = constant(sqlglot.parse_one(sql, read=DIALECT), f"Argument {sql}")
        except BigQueryError:
            others.append(sql)
    if others:
        items = (f"{sql} AS c{number}" for number, sql in enumerate(others))
        table = await scratch.create(f"SELECT {', '.join(items)}", project, {})
        (row,) = (await scratch.read(table)).to_pylist()
        values |= {sql: _python(row[f"c{number}"]) for number, sql in enumerate(others)}
    return values


def _python(value: Any) -> Any:
    if isinstance(value, list):
        return [_python(item) for item in value]
    return float(value) if isinstance(value, Decimal) else value
