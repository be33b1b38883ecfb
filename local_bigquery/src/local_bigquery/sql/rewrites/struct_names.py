"""STRUCT(a, t.b): fields are named after the columns, where the emulator leaves fields without AS without a name."""

from sqlglot import exp

_UNNAMED = "_field_{}"  # what BigQuery shows for a field without a name


def struct_names(tree: exp.Expr) -> None:
    """Name the fields of each STRUCT that holds a column without AS."""
    for struct in list(tree.find_all(exp.Struct)):
        if any(_is_column(item) for item in struct.expressions) and not _takes_names_of_another(struct):
            items = [_named(item, place) for place, item in enumerate(struct.expressions, start=1)]
            struct.set("expressions", items)


def _named(item: exp.Expr, place: int) -> exp.Expr:
    if isinstance(item, exp.PropertyEQ) or item.is_star:
        return item
    name = item.name if _is_column(item) else _UNNAMED.format(place)
    return exp.PropertyEQ(this=exp.to_identifier(name), expression=item)


def _is_column(item: exp.Expr) -> bool:
    return isinstance(item, exp.Column | exp.Dot) and not item.is_star


def _takes_names_of_another(struct: exp.Struct) -> bool:
    """Whether fields get their names by their place: from the first of several structs, or from a table's column."""
    array = struct.parent
    if isinstance(array, exp.Array) and array.expressions[0] is not struct:
        return True
    place = struct.find_ancestor(exp.JSONFormat, exp.SetOperation, exp.DML, exp.When)
    return place is not None and not isinstance(place, exp.JSONFormat)
