"""Operators and functions of numbers: errors instead of NULL and infinity, NaN in comparisons."""

from sqlglot import exp

from local_bigquery.googlesql.calls import FLOAT64, INT64, NUMERIC, Handler, call, joined
from local_bigquery.googlesql.kinds import Kinds

_EXACT = (INT64, NUMERIC, "BIGNUMERIC")
_FLOAT_FUNCTIONS = (
    *(exp.Exp, exp.Ln, exp.Sin, exp.Cos, exp.Tan, exp.Asin, exp.Acos, exp.Sinh, exp.Cosh, exp.Acosh, exp.Atanh),
    *(exp.Cot, exp.Coth, exp.Csc, exp.Csch, exp.Sec),
)
_ARITHMETIC = (exp.Add, exp.Sub, exp.Mul, exp.Div, exp.Neg)


def _leaves(node: exp.Expr) -> list[exp.Expr]:
    """Return the operands of an arithmetic expression that are no literals."""
    if isinstance(node, exp.Literal):
        return []
    if isinstance(node, (*_ARITHMETIC, exp.Paren)):
        return [leaf for child in node.iter_expressions() for leaf in _leaves(child)]
    if isinstance(node, exp.Anonymous) and node.name == "gsql_divide":
        return [leaf for child in node.expressions for leaf in _leaves(child)]
    return [node]


def _arithmetic(node: exp.Expr, kinds: Kinds) -> exp.Expr | None:
    left, right = node.this, node.args.get("expression")
    if isinstance(node, exp.Neg) and kinds.of(left) == INT64 and not isinstance(left, exp.Literal):
        return call("negative", left)
    new = _operation(node, left, right, kinds)
    parent = node.parent
    while isinstance(parent, exp.Paren):
        parent = parent.parent
    if isinstance(parent, _ARITHMETIC) or kinds.of(node) not in (None, FLOAT64):
        return new
    value = new or node
    if value.find(exp.Interval) or isinstance(node, exp.Neg):
        return new
    leaves = _leaves(value)
    infinite = [call("infinite", leaf) for leaf in dict.fromkeys(leaves)]
    return call("finite", value, joined(exp.Or, infinite) if infinite else exp.false())


def _operation(  # noqa: C901, PLR0911, PLR0912  one case for each pair of types
    node: exp.Expr, left: exp.Expr, right: exp.Expr | None, kinds: Kinds
) -> exp.Expr | None:
    if right is None:
        return None
    pair = (kinds.of(left), kinds.of(right))
    match node, pair:
        case exp.Div(), ("NUMERIC", "NUMERIC" | "INT64") | ("INT64", "NUMERIC"):
            return call("numeric_divide", left, right)
        case exp.Div(), _:
            # An inner division is checked here: an infinite divisor would hide an overflow.
            return call("divide", left, _checked(right))
        case exp.Mul(), ("NUMERIC", "NUMERIC" | "INT64") | ("INT64", "NUMERIC"):
            return call("numeric_multiply", left, right)
        case exp.Add() | exp.Sub(), ("NUMERIC", "NUMERIC" | "INT64") | ("INT64", "NUMERIC"):
            return call("numeric_add" if isinstance(node, exp.Add) else "numeric_subtract", left, right)
        case exp.Add(), ("DATE", "INT64"):
            return call("date_plus", left, right)
        case exp.Add(), ("INT64", "DATE"):
            return call("date_plus", right, left)
        case exp.Sub(), ("DATE", "INT64"):
            return call("date_minus", left, right)
        case exp.Sub(), ("TIMESTAMP", "TIMESTAMP") | ("DATETIME", "DATETIME"):
            return call("time_interval", left, right)
        case exp.Sub(), ("DATE", "DATE"):
            return call("date_interval", left, right)
        case _, ("INT64", "INT64"):
            for operand in (left, right):
                if isinstance(operand, exp.Literal):
                    operand.replace(call("bigint", operand))
    return None


def _checked(node: exp.Expr) -> exp.Expr:
    inner = node.unnest()
    if isinstance(inner, _ARITHMETIC) and (leaves := _leaves(inner)):
        return call("finite", inner, joined(exp.Or, [call("infinite", leaf) for leaf in dict.fromkeys(leaves)]))
    return node


def _div(node: exp.IntDiv, kinds: Kinds) -> exp.Expr:
    decimal = NUMERIC in (kinds.of(node.this), kinds.of(node.expression))
    return call("numeric_div" if decimal else "div", node.this, node.expression)


def _mod(node: exp.Mod, kinds: Kinds) -> exp.Expr:
    decimal = NUMERIC in (kinds.of(node.this), kinds.of(node.expression))
    return call("numeric_mod" if decimal else "mod", node.this, node.expression)


def _safe_divide(node: exp.SafeDivide, kinds: Kinds) -> exp.Expr:
    pair = {kinds.of(node.this), kinds.of(node.expression)}
    decimal = NUMERIC in pair and pair <= {NUMERIC, INT64}
    return call("safe_numeric_divide" if decimal else "safe_divide", node.this, node.expression)


def _safe_arithmetic(operator: type[exp.Binary], numeric: str) -> Handler:
    def handler(node: exp.Binary, kinds: Kinds) -> exp.Expr:
        left, right = node.this, node.expression
        pair = {kinds.of(left), kinds.of(right)}
        if NUMERIC in pair and pair <= {NUMERIC, INT64}:
            return exp.Anonymous(this="TRY", expressions=[call(numeric, left, right)])
        if pair == {INT64}:
            left, right = call("bigint", left), call("bigint", right)
        infinite = joined(exp.Or, [call("infinite", left), call("infinite", right)])
        value = operator(this=exp.paren(left), expression=exp.paren(right))
        return exp.Anonymous(this="TRY", expressions=[call("finite", value, infinite)])

    return handler


def _float_function(node: exp.Func, _: Kinds) -> exp.Expr:
    return call(node.key, node.this)


def _by_decimal(node: exp.Func, kinds: Kinds) -> exp.Expr:
    """Return the macro for NUMERIC or the one for other types."""
    arguments = [node.this, *(node.args[key] for key in ("decimals", "expression") if node.args.get(key))]
    suffix = "_to" if len(arguments) > 1 else ""
    is_decimal = kinds.of(node.this) in (NUMERIC, "BIGNUMERIC")
    return call(f"{'numeric_' if is_decimal else ''}{node.key}{suffix}", *arguments)


def _log(node: exp.Log, _: Kinds) -> exp.Expr:
    if node.this.is_int and node.this.name == "10":
        return call("log10", node.expression)
    return call("log", node.expression, node.this)


def _pow(node: exp.Pow, kinds: Kinds) -> exp.Expr:
    pair = {kinds.of(node.this), kinds.of(node.expression)}
    name = "numeric_pow" if NUMERIC in pair and FLOAT64 not in pair else "pow"
    return call(name, node.this, node.expression)


def _comparison(name: str, *, swap: bool = False) -> Handler:
    def handler(node: exp.Binary, kinds: Kinds) -> exp.Expr | None:
        left, right = (node.expression, node.this) if swap else (node.this, node.expression)
        pair = (kinds.of(left), kinds.of(right))
        if isinstance(node.parent, exp.Join) or node.find_ancestor(exp.Update, exp.Merge, exp.Delete):
            # A join stays one by hash: NaN matches nothing because of a second condition.
            is_key = isinstance(node, exp.EQ) and pair == (FLOAT64, FLOAT64) and isinstance(node.parent, exp.Join)
            return joined(exp.And, [node.copy(), exp.not_(call("nan", left))]) if is_key else None
        if not all(kind in (None, FLOAT64, *_EXACT) for kind in pair) or all(kind in _EXACT for kind in pair):
            return None
        if any(
            isinstance(side, exp.Null | exp.Boolean | exp.Tuple | exp.Struct | exp.Subquery) for side in (left, right)
        ):
            return None
        if (isinstance(left, exp.Literal) and left.is_string) or (isinstance(right, exp.Literal) and right.is_string):
            return None
        return call(name, left, right)

    return handler


def _in(node: exp.In, kinds: Kinds) -> exp.Expr | None:
    """Return FALSE for NaN, which equals no element."""
    if kinds.of(node.this) != FLOAT64:
        return None
    return exp.Case().when(call("nan", node.this), exp.false()).else_(node.copy())


def _case(node: exp.Case, kinds: Kinds) -> exp.Expr | None:
    """Return `CASE x WHEN y` as `CASE WHEN x = y`, because NaN equals nothing."""
    value = node.this
    if value is None or kinds.of(value) != FLOAT64:
        return None
    new = node.copy()
    new.set("this", None)
    for branch in new.args["ifs"]:
        branch.set("this", call("equal", value, branch.this))
    return new


def _between(node: exp.Between, kinds: Kinds) -> exp.Expr | None:
    if kinds.of(node.this) != FLOAT64:
        return None
    low, high = node.args["low"], node.args["high"]
    return joined(exp.And, [call("less_equal", low, node.this), call("less_equal", node.this, high)])


def _ordered(node: exp.Ordered, kinds: Kinds) -> exp.Expr | None:
    """Put NaN before all numbers by another key: GoogleSQL orders NULL, NaN, -inf, ..., inf."""
    order = node.parent
    owner = order.parent if isinstance(order, exp.Order) else None
    if order is None or kinds.of(node.this) != FLOAT64 or isinstance(owner, exp.SetOperation):
        return None
    is_distinct = isinstance(owner, exp.Select) and owner.args.get("distinct")
    frame = owner.args.get("spec") if isinstance(owner, exp.Window) else None
    if is_distinct or (frame is not None and frame.args.get("kind") == "RANGE"):
        return None  # only one key is allowed
    is_number = exp.Case().when(node.this.copy().is_(exp.null()), exp.null()).else_(exp.not_(call("nan", node.this)))
    first = node.copy()
    first.set("this", is_number)
    place = next(number for number, item in enumerate(order.expressions) if item is node)
    order.set("expressions", [*order.expressions[:place], first, *order.expressions[place:]])
    return None


def _nullif(node: exp.Nullif, kinds: Kinds) -> exp.Expr | None:
    if kinds.of(node.this) != FLOAT64:
        return None
    return exp.Case().when(call("equal", node.this, node.expression), exp.null()).else_(node.this.copy())


def _extreme(node: exp.Least | exp.Greatest, kinds: Kinds) -> exp.Expr | None:
    items = [node.this, *node.expressions]
    if not all(kinds.of(item) in (None, FLOAT64, INT64) for item in items):
        return None
    if isinstance(node, exp.Greatest) or not any(kinds.of(item) in (None, FLOAT64) for item in items):
        return None
    case = exp.Case()
    case = case.when(joined(exp.Or, [item.copy().is_(exp.null()) for item in items]), exp.null())
    case = case.when(
        joined(exp.Or, [call("nan", item) for item in items]), exp.Greatest(this=items[0], expressions=items[1:])
    )
    return case.else_(node.copy())


def _minimum(node: exp.Min, kinds: Kinds) -> exp.Expr | None:
    if isinstance(node.parent, exp.Window) or kinds.of(node.this) not in (None, FLOAT64):
        return None
    return call("min", node.this)


def _sum(node: exp.Sum | exp.Avg, kinds: Kinds) -> exp.Expr | None:
    value = node.this
    if isinstance(node.parent, exp.Window | exp.Filter) or isinstance(value, exp.Distinct):
        return None
    kind = kinds.of(value)
    if kind == INT64:
        return call("bigint", node) if isinstance(node, exp.Sum) else None
    if kind == NUMERIC and isinstance(node, exp.Avg):
        return call("numeric_divide", exp.Sum(this=value.copy()), exp.Count(this=value.copy()))
    if kind in (None, FLOAT64):
        return call("sum_checked" if isinstance(node, exp.Sum) else "avg_checked", node, value)
    return None


def _window(node: exp.Window, kinds: Kinds) -> exp.Expr | None:
    function = node.this
    kind = kinds.of(function.this) if isinstance(function, exp.Sum | exp.Avg) else None
    if isinstance(function, exp.Avg) and kind == NUMERIC:
        return call("numeric", node)
    return call("bigint", node) if isinstance(function, exp.Sum) and kind == INT64 else None


HANDLERS: dict[type[exp.Expr], Handler] = {
    **dict.fromkeys(_ARITHMETIC, _arithmetic),
    **dict.fromkeys(_FLOAT_FUNCTIONS, _float_function),
    **dict.fromkeys((exp.Sqrt, exp.Round, exp.Trunc, exp.Sign, exp.Ceil, exp.Floor, exp.Abs), _by_decimal),
    exp.IntDiv: _div,
    exp.Mod: _mod,
    exp.SafeDivide: _safe_divide,
    exp.SafeAdd: _safe_arithmetic(exp.Add, "numeric_add"),
    exp.SafeSubtract: _safe_arithmetic(exp.Sub, "numeric_subtract"),
    exp.SafeMultiply: _safe_arithmetic(exp.Mul, "numeric_multiply"),
    exp.BitwiseLeftShift: lambda node, _: call("shift_left", node.this, node.expression),
    exp.BitwiseRightShift: lambda node, _: call("shift_right", node.this, node.expression),
    exp.Log: _log,
    exp.Pow: _pow,
    exp.Least: _extreme,
    exp.Min: _minimum,
    exp.Sum: _sum,
    exp.Avg: _sum,
    exp.Window: _window,
    exp.Between: _between,
    exp.Case: _case,
    exp.EQ: _comparison("equal"),
    exp.In: _in,
    exp.Nullif: _nullif,
    exp.Ordered: _ordered,
    exp.NEQ: _comparison("not_equal"),
    exp.LT: _comparison("less"),
    exp.LTE: _comparison("less_equal"),
    exp.GT: _comparison("less", swap=True),
    exp.GTE: _comparison("less_equal", swap=True),
    exp.RangeBucket: lambda node, _: call("range_bucket", node.this, node.expression),
    exp.BitwiseCount: lambda node, _: call("bit_count", node.this),
    exp.Corr: lambda node, _: None if isinstance(node.parent, exp.Window) else call("corr", node.this, node.expression),
}
