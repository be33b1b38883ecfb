"""Markdown documents with tables that a benchmark makes."""

import re
import sys
from argparse import ArgumentParser
from collections.abc import Callable, Mapping
from pathlib import Path


def print_or_write(benchmark: str, description: str | None, tables: Mapping[str, Callable[[], str]]) -> None:
    """The command of a benchmark that only makes tables: `python -m benchmarks.BENCHMARK [--write FILE]`.

    Args:
        benchmark: its name, by which its tables are marked.
        description: what `--help` says.
        tables: what makes them, by name.
    """
    parser = ArgumentParser(prog=f"python -m benchmarks.{benchmark}", description=description)
    parser.add_argument("--write", type=Path, metavar="FILE", help="file whose marked tables are to be replaced")
    if target := parser.parse_args().write:
        target.write_text(filled(target.read_text(), benchmark, {name: table() for name, table in tables.items()}))
    else:
        sys.stdout.write("\n\n".join(f"{table.__doc__}\n\n{table()}" for table in tables.values()) + "\n")


def filled(text: str, benchmark: str, tables: Mapping[str, str]) -> str:
    """`text` with the tables between `<!-- BENCHMARK: NAME -->` and `<!-- end -->` made anew, where there is one."""
    block = re.compile(rf"(<!-- {benchmark}: (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)

    def table(found: re.Match[str]) -> str:
        made = tables.get(found[2])
        return found[0] if made is None else f"{found[1]}{made}\n{found[3]}"

    return block.sub(table, text)
