"""MERGE ... INSERT ROW: all columns of the source, in their order."""

from sqlglot import exp


def insert_row(tree: exp.Expr) -> None:
    """Write `INSERT ROW` of a MERGE as `INSERT *`, DuckDB's words for it."""
    for when in tree.find_all(exp.When):
        insert = when.args.get("then")
        if isinstance(insert, exp.Insert) and isinstance(insert.this, exp.Var) and insert.this.name.upper() == "ROW":
            insert.set("this", exp.Star())
