"""Compares the local BigQuery with all recorded answers of GoogleSQL, and writes the counts and the differences.

Usage:

    python tests/googlesql/report.py

It takes some minutes, prints the counts, and writes `differences.json`, the table in README.md and the list in
docs/differences.md.
"""

import json
import re
import sys
import textwrap
from collections import Counter
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from comparison import DIFFERENCES, Answer, Difference, differences, recorded
from expressions import areas

from local_server import running

ROOT = Path(__file__).resolve().parents[2]
BLOCK = re.compile(r"(?<=<!-- googlesql -->\n).*?(?=<!-- /googlesql -->)", re.DOTALL)

# The reason of each difference in a value. `main` fails if one lacks a reason.
REASONS = {
    "*": "an overflow beside an infinity is no error",
    "ARRAY_CONCAT_AGG": "the order of rows without ORDER BY",
    "AVG": "infinity beside NULL",
    "FORMAT_DATE": "%F, %G and %c write years before 1000 without zeros",
    "FORMAT_TIMESTAMP": "%F and %c write years before 1000 without zeros; zones before 1900 have seconds",
    "FORMAT_DATETIME": "%c writes years before 1000 without zeros",
    "FORMAT": "%T of a text with quotation marks; %f of more than 17 digits",
    "GENERATE_DATE_ARRAY": "a step of 0 gives no element",
    "JSON_QUERY": "1.50 becomes 1.5; JSON null is no SQL NULL; of JSON it is a STRING",
    "JSON_VALUE": "1.50 becomes 1.5",
    "REGEXP_EXTRACT": "a constant NULL has another type",
    "SAFE_CONVERT_BYTES_TO_STRING": "invalid UTF-8 gives NULL",
    "SOUNDEX": "upper case, vowels otherwise",
    "STRING": "zones before 1900 have seconds",
    "SUM": "NUMERIC of more than 38 digits",
    "VAR_POP": "infinity beside NULL",
    "CONCAT": "a constant NULL has another type",
}


def main() -> None:
    """Compare and write."""
    answers = recorded()
    with running() as server:
        found = differences(server.rest, answers)
    lines = ",\n".join(json.dumps([item.answer.sql, item.here], ensure_ascii=False) for item in found)
    DIFFERENCES.write_text(f"[\n{lines}\n]\n")
    silent = [item for item in found if not _is_refused(item)]
    print(
        f"{len(answers)} expressions, {len(found)} differences: {len(silent)} values, {len(found) - len(silent)} errors"
    )
    unexplained = {item.answer.name for item in silent} - REASONS.keys()
    if unexplained:
        sys.exit(f"Differences without a reason: {', '.join(sorted(unexplained))}")
    for name, block in blocks(answers, found).items():
        path = ROOT / name
        path.write_text(BLOCK.sub(lambda _, new=block: new, path.read_text()))


def blocks(answers: list[Answer], found: list[Difference]) -> dict[str, str]:
    """Return the generated part of each document."""
    return {
        "README.md": _counts([answer.name for answer in answers], found),
        "docs/differences.md": _list(found),
    }


def _is_refused(item: Difference) -> bool:
    return item.here.startswith("error")


def _counts(names: list[str], found: list[Difference]) -> str:
    area = areas()
    total = Counter(area[name] for name in names)
    functions = Counter(area[name] for name in set(names))
    refused = Counter(area[item.answer.name] for item in found if _is_refused(item))
    other = Counter(area[item.answer.name] for item in found if not _is_refused(item))
    rows = [
        f"|{name}|{functions[name]}|{count}|{count - refused[name] - other[name]}|{refused[name]}|{other[name]}|"
        for name, count in total.items()
    ]
    sums = [sum(column.values()) for column in (functions, total, refused, other)]
    last = f"|all|{sums[0]}|{sums[1]}|{sums[1] - sums[2] - sums[3]}|{sums[2]}|{sums[3]}|"
    return "\n".join(["|area|functions|expressions|same|refused|other|", "|---" * 6 + "|", *rows, last, ""])


def _list(found: list[Difference]) -> str:
    silent = Counter(item.answer.name for item in found if not _is_refused(item))
    refused = Counter(item.answer.name for item in found if _is_refused(item))
    rows = [f"|`{_escaped(name)}`|{REASONS[name]}|" for name in sorted(silent)]
    names = ", ".join(f"`{name}`" for name in sorted(refused))
    last = textwrap.fill(f"Refused for some values: {names}.", 120)
    return "\n".join(["|function|other value|", "|---|---|", *rows, "", last, ""])


def _escaped(name: str) -> str:
    return name.replace("|", "\\|")


if __name__ == "__main__":
    main()
