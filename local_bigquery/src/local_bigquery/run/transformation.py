"""Runs TRANSFORM clauses: the emulator computes SQL expressions, the gateway preprocessing functions."""

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
from local_bigquery.run.scratch import Scratch
from local_bigquery.schema import Schema
from local_bigquery.sql import DIALECT
from local_bigquery.sql.statements import constant

# Options with the name of a column that a clause must pass on unchanged.
_KEPT = ("input_label_cols", "data_split_col", "instance_weight_col", "kmeans_init_col")
_DEFAULT_LABEL = "label"


def parse(select_list: Sequence[exp.Expr], columns: Schema, options: Mapping[str, Any]) -> Transform:
    """Return a clause that has not learned yet.

    Args:
        select_list: the expressions in the parentheses.
        columns: the columns of the training query.
        options: the complete options of CREATE MODEL.

    Raises:
        BigQueryError: `invalidQuery` if the clause contains something that is not allowed in it.
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
    """Learn the parameters of a clause from the rows of a training query.

    Args:
        transform: the clause.
        table: the table with the rows.
        columns: the columns of the table.
        scratch: makes temporary tables.

    Returns:
        The clause with its parameters; its output columns for these rows; and the columns that its features use.

    Raises:
        BigQueryError: an expression cannot be computed, or an argument of a function is invalid.
    """
    constants = await _constants(sorted(transform.constants), table.project, scratch)
    transformers: dict[str, Transformer] = {}
    rows: pa.Table = None
    for step in transform.steps:
        rows = await _computed(step, rows, table, columns, scratch)
        rows, learned = await asyncio.to_thread(step.learn, rows, constants)
        transformers |= learned
    ready = replace(transform, transformers=transformers)
    return ready, transform.result(rows), rows.select(transform.feature_inputs)


async def apply(transform: Transform, table: TableName, columns: Schema, scratch: Scratch) -> tuple[pa.Table, pa.Table]:
    """Apply a clause that has learned.

    Args:
        transform: the clause.
        table: the table with the rows.
        columns: the columns of the table.
        scratch: makes temporary tables.

    Returns:
        The rows, unchanged, and the output columns for the same rows.

    Raises:
        BigQueryError: a column is missing, or its type does not fit.
    """
    names = _names(columns)
    transform = transform.applicable(names)
    rows: pa.Table = None
    for step in transform.steps:
        rows = await _computed(step, rows, table, columns, scratch)
        rows = await asyncio.to_thread(step.apply, rows, transform.transformers)
    return rows.select(names), transform.result(rows)


async def _computed(step: Step, rows: pa.Table | None, table: TableName, columns: Schema, scratch: Scratch) -> pa.Table:
    """Return rows with the results of a step's SQL expressions appended.

    Args:
        step: the step.
        rows: the rows after the previous step; None before the first, which reads the table.
        table: the table with the rows before the first step.
        columns: the columns of the table.
        scratch: makes temporary tables.
    """
    names: Sequence[str] = _names(columns)
    if rows is not None:
        table, names = await scratch.write(rows, []), rows.column_names
    # The columns are named, because `*` beside some functions drops STRUCTs in the emulator.
    items = [*(f"`{name}`" for name in names), *(f"{sql} AS {name}" for name, sql in step.expressions.items())]
    select = f"SELECT {', '.join(items)} FROM {table.sql}"
    return await scratch.read(await scratch.create(select, table.project, {}))


def _names(columns: Schema) -> list[str]:
    return [column["name"] for column in columns]


async def _constants(expressions: Sequence[str], project: str, scratch: Scratch) -> dict[str, Any]:
    """Return the values of constant expressions by their SQL."""
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
