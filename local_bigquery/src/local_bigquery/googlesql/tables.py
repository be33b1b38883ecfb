"""Rewrites of FROM clauses and of CREATE TABLE."""

from sqlglot import exp

from local_bigquery.googlesql.kinds import Tables, columns_of

_DIGITS = 38
_QUERY_AND_UNNEST = 2
# The emulator takes a DECIMAL with more than 9 digits after the point for a BIGNUMERIC.
_SCALES = {exp.DType.DECIMAL: 9, exp.DType.BIGDECIMAL: 10}


def typed_columns(tree: exp.Expr) -> None:
    """Turn `CREATE TABLE t (a INT64, ...) AS query` into `CREATE TABLE t AS` with casts; columns match by position."""
    if not (isinstance(tree, exp.Create) and tree.kind == "TABLE" and isinstance(tree.expression, exp.Query)):
        return
    columns = [column for column in tree.this.expressions if isinstance(column, exp.ColumnDef)]
    if not columns:  # there are none without a Schema
        return
    # The first branch gives the names, and no row.
    names = exp.select(*(exp.alias_(exp.null(), column.name, quoted=True) for column in columns)).where("FALSE")
    rows = exp.union(names, tree.expression.unnest().copy(), distinct=False)
    items = [exp.alias_(_converted(column), column.name, quoted=True) for column in columns]
    tree.set("this", tree.this.this)
    tree.set("expression", exp.select(*items).from_(rows.subquery("_rows")))


def named_values(tree: exp.Expr) -> None:
    """Replace `(VALUES (...), ...) AS v(a, b)`, which the emulator writes, by SELECTs: sqlglot would lose the names."""
    for values in list(tree.find_all(exp.Values)):
        table = values.parent
        alias = table.args.get("alias") if isinstance(table, exp.Subquery) else None
        if table is None or alias is None or not alias.columns:
            continue
        names = [column.name for column in alias.columns]
        selects = (
            exp.select(*(exp.alias_(item.copy(), name) for item, name in zip(row.expressions, names, strict=True)))
            for row in values.expressions
        )
        rows: exp.Query = next(selects)
        for row in selects:
            rows = exp.union(rows, row, distinct=False, copy=False)
        table.replace(rows.subquery(alias.name, copy=False))


def full_numerics(tree: exp.Expr) -> None:
    """Give the NUMERIC and BIGNUMERIC columns of CREATE and ALTER TABLE all their digits; the emulator keeps few."""
    for column in tree.find_all(exp.ColumnDef):
        for kind in column.kind.find_all(exp.DataType) if column.kind is not None else ():
            if kind.this in _SCALES and not kind.expressions:
                digits = (_DIGITS, _SCALES[kind.this])
                kind.set("this", exp.DType.DECIMAL)
                kind.set("expressions", [exp.DataTypeParam(this=exp.Literal.number(number)) for number in digits])


def found_elements(tree: exp.Expr) -> None:
    """Replace `(SELECT x FROM UNNEST(array) AS e WHERE y)` by functions of lists, which take a hundredth of the time.

    DuckDB would join the rows with the elements, once for each time that a macro names the subquery.
    """
    for subquery in list(tree.find_all(exp.Subquery)):
        select = subquery.this
        if not isinstance(select, exp.Select) or not _is_value(subquery) or not _reads_one_array(select):
            continue
        unnest = select.args["from_"].this
        name = _element_name(unnest)
        if name is None:
            continue
        found = unnest.expressions[0].copy()
        if where := select.args.get("where"):
            found = exp.Anonymous(this="list_filter", expressions=[found, _of_element(name, where.this)])
        values = [found, _of_element(name, select.expressions[0].unalias())]
        found = exp.Anonymous(this="list_transform", expressions=values)
        subquery.replace(exp.Anonymous(this="gsql_only", expressions=[found]))


def _is_value(subquery: exp.Subquery) -> bool:
    """Return True if a subquery is certainly a value in an expression, neither a table nor a set."""
    parent = subquery.parent
    if subquery.alias or isinstance(parent, exp.Array | exp.Exists):
        return False
    is_column = isinstance(parent, exp.Select) and subquery.arg_key == "expressions"
    return is_column or isinstance(parent, exp.Alias | exp.PropertyEQ | exp.Func | exp.Binary | exp.Paren)


def _reads_one_array(select: exp.Select) -> bool:
    """Return True if a query computes a column from each element of an array, and does nothing else."""
    used = {name for name, value in select.args.items() if value}
    if used not in ({"expressions", "from_"}, {"expressions", "from_", "where"}) or len(select.expressions) != 1:
        return False
    if select.is_star or select.find(exp.AggFunc, exp.Window, exp.Anonymous):
        return False
    return sum(isinstance(node, exp.Query | exp.Unnest) for node in select.walk()) == _QUERY_AND_UNNEST


def _element_name(source: exp.Expr | None) -> str | None:
    """Return the alias of the elements of an UNNEST of an expression; None if it is no such UNNEST."""
    if not isinstance(source, exp.Unnest) or source.args.get("offset") or isinstance(source.expressions[0], exp.Array):
        return None
    alias = source.args.get("alias")
    return alias.columns[0].name if alias is not None and len(alias.columns) == 1 else None


def _of_element(name: str, expression: exp.Expr) -> exp.Expr:
    """Return a function of an element, from an expression that names the element."""
    element = exp.to_identifier(name)
    body = expression.copy()
    for column in list(body.find_all(exp.Column)):
        first, *fields = column.parts
        if first.name.lower() == name.lower():
            column.replace(exp.Dot.build([part.copy() for part in (element, *fields)]) if fields else element.copy())
    return exp.Lambda(this=body, expressions=[element])


def _converted(column: exp.ColumnDef) -> exp.Expr:
    value: exp.Expr = exp.column(column.name, quoted=True)
    if column.kind is not None:
        value = exp.Cast(this=value, to=column.kind.copy())
    if any(isinstance(constraint.kind, exp.NotNullColumnConstraint) for constraint in column.constraints):
        message = f"Required field {column.name} cannot be null"
        value = exp.Anonymous(
            this="gsql_unless", expressions=[value.copy().is_(exp.null()), exp.Literal.string(message), value]
        )
    return value


def offsets(tree: exp.Expr) -> None:
    """Replace `UNNEST(...) AS x WITH OFFSET AS o` by a subquery that counts from 0; the emulator counts from 1."""
    for unnest in list(tree.find_all(exp.Unnest)):
        offset = unnest.args.get("offset")
        if not offset or not isinstance(unnest.parent, exp.From | exp.Join):
            continue
        alias = unnest.args.get("alias")
        name = alias.columns[0].name if alias is not None and alias.columns else "_element"
        (array,) = unnest.expressions
        items = [
            exp.alias_(exp.Anonymous(this="gsql_unnest", expressions=[array.copy()]), name, quoted=True),
            exp.alias_(
                exp.Anonymous(this="gsql_positions", expressions=[array.copy()]),
                offset.name if isinstance(offset, exp.Identifier) else "offset",
                quoted=True,
            ),
        ]
        join = unnest.parent
        if isinstance(join, exp.Join) and join.side and not join.args.get("on"):
            join.set("on", exp.true())
        unnest.replace(exp.select(*items).subquery(f"_{name}_and_offset"))


def empty_arrays(tree: exp.Expr, tables: Tables) -> None:
    """Read NULL in the array columns of tables as empty arrays, as which BigQuery stores them."""
    for table in list(tree.find_all(exp.Table)):
        columns = columns_of(table, tables) or {}
        arrays = [name for name, kind in columns.items() if kind.startswith("ARRAY<")]
        if not arrays or not isinstance(table.parent, exp.From | exp.Join) or _is_changed(table):
            continue
        alias = table.alias or table.name
        source = table.copy()
        source.set("alias", None)
        sample = source.args.pop("sample", None)
        if sample is not None or source.args.get("version") is not None:
            continue
        # The columns are named, because the emulator drops STRUCT columns of `*` beside functions.
        items = [_filled(name) if name in arrays else exp.column(name, quoted=True) for name in columns]
        table.replace(exp.select(*items).from_(source).subquery(alias))


def stored_arrays(tree: exp.Expr, tables: Tables) -> None:
    """Refuse NULL in arrays that UPDATE and MERGE write, and write NULL arrays as empty ones."""
    target = tree.this if isinstance(tree, exp.Update | exp.Merge) else None
    columns = columns_of(target, tables) if isinstance(target, exp.Table) else None
    arrays = {name.lower() for name, kind in (columns or {}).items() if kind.startswith("ARRAY<")}
    if not arrays:
        return
    for update in tree.find_all(exp.Update):
        for item in update.expressions:
            if isinstance(item, exp.EQ) and item.this.name.lower() in arrays:
                item.set("expression", _checked(item.expression, item.this.name))
    for insert in tree.find_all(exp.Insert):
        names, values = insert.this, insert.expression
        if isinstance(names, exp.Tuple) and isinstance(values, exp.Tuple):
            for name, value in zip(names.expressions, list(values.expressions), strict=False):
                if name.name.lower() in arrays:
                    value.replace(_checked(value, name.name))


def _checked(value: exp.Expr, name: str) -> exp.Expr:
    return exp.Anonymous(this="gsql_stored_array", expressions=[value.copy(), exp.Literal.string(name)])


def _filled(name: str) -> exp.Expr:
    column = exp.column(name, quoted=True)
    return exp.alias_(exp.Anonymous(this="gsql_array", expressions=[column]), name, quoted=True)


def _is_changed(table: exp.Table) -> bool:
    """Return True if a statement changes the table that it names in a FROM clause."""
    return isinstance(table.parent.parent if table.parent is not None else None, exp.Update | exp.Delete | exp.Merge)
