"""MOD(a, b) and DIV(a, b) as a factor: the emulator reads `3 * MOD(a, b)` as `(3 * a) % b`."""

from sqlglot import exp


def integer_division(tree: exp.Expr) -> None:
    """Put MOD and DIV in parentheses where they are the right operand of `*` or `/`."""
    for node in reversed(list(tree.find_all(exp.Mod, exp.IntDiv))):  # the innermost first
        if isinstance(node.parent, exp.Mul | exp.Div) and node.arg_key == "expression":
            node.replace(exp.paren(node.copy()))
