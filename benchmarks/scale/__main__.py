"""Prints the tables of docs/scale.md as Markdown, or puts them into a file.

Usage: python -m benchmarks.scale [--write FILE]
"""

import sys
from argparse import ArgumentParser
from pathlib import Path

from benchmarks.document import filled
from benchmarks.scale.report import TABLES


def made(text: str) -> str:
    """`text` with every marked table made anew."""
    return filled(text, "scale", {name: table() for name, table in TABLES.items()})


def main() -> None:
    """Run the command."""
    parser = ArgumentParser(prog="python -m benchmarks.scale", description=__doc__)
    parser.add_argument("--write", type=Path, metavar="FILE", help="file whose marked tables are to be replaced")
    if target := parser.parse_args().write:
        target.write_text(made(target.read_text()))
    else:
        sys.stdout.write("\n\n".join(f"{table.__doc__}\n\n{table()}" for table in TABLES.values()) + "\n")


if __name__ == "__main__":
    main()
