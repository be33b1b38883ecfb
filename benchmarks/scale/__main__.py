"""Prints the tables of docs/scale.md as Markdown, or puts them into a file.

Usage: python -m benchmarks.scale [--write FILE]
"""

from benchmarks.document import print_or_write
from benchmarks.scale.report import TABLES

if __name__ == "__main__":
    print_or_write("scale", __doc__, TABLES)
