"""Prints the tables of docs/scale.md as Markdown, or puts them into a file.

Usage: python -m benchmarks.scale [--write FILE]
"""

import re
import sys
from argparse import ArgumentParser
from pathlib import Path

from benchmarks.scale.report import TABLES


def filled(text: str) -> str:
    """`text` with every table between `<!-- scale: NAME -->` and `<!-- end -->` made anew.

    Raises:
        KeyError: there is no table of that name.
    """
    block = re.compile(r"(<!-- scale: (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)
    return block.sub(lambda found: f"{found[1]}{TABLES[found[2]]()}\n{found[3]}", text)


def main() -> None:
    """Run the command."""
    parser = ArgumentParser(prog="python -m benchmarks.scale", description=__doc__)
    parser.add_argument("--write", type=Path, metavar="FILE", help="file whose marked tables are to be replaced")
    if target := parser.parse_args().write:
        target.write_text(filled(target.read_text()))
    else:
        sys.stdout.write("\n\n".join(f"{table.__doc__}\n\n{table()}" for table in TABLES.values()) + "\n")


if __name__ == "__main__":
    main()
