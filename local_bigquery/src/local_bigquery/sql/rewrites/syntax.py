"""Rewrites that need the syntax tree only."""

from sqlglot import exp

# The precision and scale of NUMERIC: 38 digits, 9 of them after the point.
# https://cloud.google.com/bigquery/docs/reference/standard-sql/data-types#decimal_types
_NUMERIC_DIGITS = (38, 9)
_UNNAMED_FIELD = "_field_{}"  # BigQuery's name for a struct field without one


def insert_row(tree: exp.Expr) -> None:
    """Replace `INSERT ROW` of a MERGE by `INSERT *`, which is DuckDB's syntax for it."""
    for when in tree.find_all(exp.When):
        insert = when.args.get("then")
        if isinstance(insert, exp.Insert) and isinstance(insert.this, exp.Var) and insert.this.name.upper() == "ROW":
            insert.set("this", exp.Star())


def numeric_casts(tree: exp.Expr) -> None:
    """Add precision and scale to each CAST to NUMERIC without them.

    The emulator would keep only 3 digits after the point. sqlglot parses `NUMERIC '1.5'` as a CAST, too.
    """
    for cast in tree.find_all(exp.Cast):
        for kind in cast.to.find_all(exp.DataType):
            if kind.this is exp.DataType.Type.DECIMAL and not kind.expressions:
                kind.set("expressions", [exp.DataTypeParam(this=exp.Literal.number(n)) for n in _NUMERIC_DIGITS])


def struct_names(tree: exp.Expr) -> None:
    """Name the fields of `STRUCT(a, t.b)` after the columns; the emulator would leave fields without AS unnamed."""
    for struct in list(tree.find_all(exp.Struct)):
        if any(_is_column(item) for item in struct.expressions) and not _is_named_by_position(struct):
            items = [_named(item, position) for position, item in enumerate(struct.expressions, start=1)]
            struct.set("expressions", items)


def _named(item: exp.Expr, position: int) -> exp.Expr:
    if isinstance(item, exp.PropertyEQ) or item.is_star:
        return item
    name = item.name if _is_column(item) else _UNNAMED_FIELD.format(position)
    return exp.PropertyEQ(this=exp.to_identifier(name), expression=item)


def _is_column(item: exp.Expr) -> bool:
    return isinstance(item, exp.Column | exp.Dot) and not item.is_star


def _is_named_by_position(struct: exp.Struct) -> bool:
    """Return True if the fields get their names from the first of several structs, or from the column of a table."""
    array = struct.parent
    if isinstance(array, exp.Array) and array.expressions[0] is not struct:
        return True
    ancestor = struct.find_ancestor(exp.JSONFormat, exp.SetOperation, exp.DML, exp.When)
    return ancestor is not None and not isinstance(ancestor, exp.JSONFormat)
