"""Markdown documents with tables that a benchmark makes."""

import re
from collections.abc import Mapping


def filled(text: str, benchmark: str, tables: Mapping[str, str]) -> str:
    """`text` with the tables between `<!-- BENCHMARK: NAME -->` and `<!-- end -->` made anew, where there is one."""
    block = re.compile(rf"(<!-- {benchmark}: (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)

    def table(found: re.Match[str]) -> str:
        made = tables.get(found[2])
        return found[0] if made is None else f"{found[1]}{made}\n{found[3]}"

    return block.sub(table, text)
