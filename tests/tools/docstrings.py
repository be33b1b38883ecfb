"""Finds docstrings that begin with a question word or a preposition: `python docstrings.py [FILE OR FOLDER ...]`."""

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

REFUSED = {
    "a question word": "how what whatever when where whether which who whom whose why",
    "a preposition": (
        "about above after against along among around as at before behind below beneath beside between beyond by "
        "despite during except for from in inside into of off on onto out outside over per since through throughout "
        "to toward towards under until up upon via with within without"
    ),
    "a conjunction": "because if that then though unless while",
}
KINDS = {word: kind for kind, words in REFUSED.items() for word in words.split()}


def docstrings(source: str) -> Iterator[tuple[int, str]]:
    """Yield line number and text of each docstring: of the module, of classes, functions and variables."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            for before, statement in zip([None, *node.body], node.body, strict=False):
                match before, statement:
                    case None | ast.Assign() | ast.AnnAssign(), ast.Expr(ast.Constant(str() as text)):
                        yield statement.lineno, text


def complaint(docstring: str) -> str | None:
    """Return the reason why a docstring's first word is refused, None if it is not.

    A word in capitals is a name, such as SQL's `FOR`.
    """
    first = [*docstring.split(maxsplit=1), ""][0].strip(".,:;")
    kind = None if first.isupper() else KINDS.get(first.lower())
    return f"the docstring begins with {kind}: {first}" if kind else None


def python_files(paths: list[Path]) -> Iterator[Path]:
    """Yield files, and the Python files below folders, but for those in hidden folders such as `.venvs`."""
    for path in paths:
        if path.is_file():
            yield path
        for file in sorted(path.rglob("*.py")):
            if not any(part.startswith(".") for part in file.relative_to(path).parts):
                yield file


def main(arguments: list[str]) -> int:
    """Print a line for each docstring that is refused; return the exit code."""
    code = 0
    for file in python_files([Path(argument) for argument in arguments] or [Path()]):
        for line, docstring in docstrings(file.read_text()):
            if found := complaint(docstring):
                sys.stdout.write(f"{file}:{line}: {found}\n")
                code = 1
    return code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
