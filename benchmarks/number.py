"""Numbers as people read them."""

_DIGITS = 3


def short(number: float) -> str:
    """A number with three digits, or with all before the point where those are more."""
    return f"{number:,.0f}" if abs(number) >= 10 ** (_DIGITS - 1) else f"{number:.{_DIGITS}g}"
