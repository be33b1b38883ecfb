"""Numbers and tables in Markdown documents that benchmarks write."""

import re
from collections.abc import Iterable, Mapping, Sequence

_DIGITS = 3


def short(number: float) -> str:
    """A number with three significant digits, or rounded to a whole number if that has more digits."""
    return f"{number:,.0f}" if abs(number) >= 10 ** (_DIGITS - 1) else f"{number:.{_DIGITS}g}"


def markdown_table(head: Sequence[str], rows: Iterable[Sequence[str]], align: str = "---") -> str:
    """A table in Markdown.

    Args:
        head: the titles of the columns.
        rows: the cells, row by row.
        align: the rule under all titles but the first: `---:` aligns numbers to the right.
    """
    rule = ["---", *[align] * (len(head) - 1)]
    return "\n".join("| " + " | ".join(row) + " |" for row in (head, rule, *rows))


def filled(text: str, benchmark: str, tables: Mapping[str, str]) -> str:
    """The text of a document with new tables.

    Args:
        text: the document. Tables are between `<!-- BENCHMARK: NAME -->` and `<!-- end -->`.
        benchmark: the benchmark whose tables are replaced.
        tables: the new tables by name. A table without a new one stays.
    """
    block = re.compile(rf"(<!-- {benchmark}: (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)

    def table(found: re.Match[str]) -> str:
        new = tables.get(found[2])
        return found[0] if new is None else f"{found[1]}{new}\n{found[3]}"

    return block.sub(table, text)
