"""CAST(x AS NUMERIC): 38 digits with 9 after the point, where the emulator keeps only 3 of them.

sqlglot writes `NUMERIC '1.5'` as a CAST, too.
"""

from sqlglot import exp

_PRECISION, _SCALE = 38, 9


def numeric_casts(tree: exp.Expr) -> None:
    """Write down the precision of NUMERIC in each CAST that gives none."""
    for cast in tree.find_all(exp.Cast):
        for kind in cast.to.find_all(exp.DataType):
            if kind.this is exp.DataType.Type.DECIMAL and not kind.expressions:
                digits = [exp.DataTypeParam(this=exp.Literal.number(number)) for number in (_PRECISION, _SCALE)]
                kind.set("expressions", digits)
