"""The Jinja templates of a pipeline: their errors, and the file and line of each piece of SQL."""

import re
import traceback
from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from jinja2 import TemplateError, TemplateNotFound, TemplateSyntaxError, meta, nodes
from jinja2.ext import Extension
from jinja2.lexer import Token, TokenStream

from foreserve.refresh import Refresh
from refresh_factory.pipeline import OUTCOMES_FILE, SQL_FILES, Pipeline, Problem
from refresh_factory.statements import SqlFiles, sql_environment, sql_loader

NAMES = ("project", "dataset", "model", "cutoff", "variables")
"""The names that SQL files may use. Only train.sql and predict.sql may use `model`."""

_WITHOUT_MODEL = ("evaluate.sql", OUTCOMES_FILE)

_MARK = re.compile("\x01(?P<file>[^\x02]*):(?P<line>\\d+)\x02")


class _MarkLines(Extension):
    """Puts a mark with file and line before each piece of a template's text."""

    def filter_stream(self, stream: TokenStream) -> Iterator[Token]:
        for token in stream:
            if token.type == "data":
                lines = enumerate(token.value.split("\n"), token.lineno)
                marked = "\n".join(f"\x01{stream.filename}:{number}\x02{text}" for number, text in lines)
                yield Token(token.lineno, "data", marked)
            else:
                yield token


@dataclass(frozen=True)
class Rendered:
    """A statement. The piece of text that begins at an offset comes from the place with the same index."""

    sql: str
    offsets: list[int]
    places: list[tuple[Path, int]]

    def place(self, offset: int) -> tuple[Path, int]:
        """The file and the line of the character at `offset`."""
        return self.places[bisect_right(self.offsets, offset) - 1]


class Templates:
    """The SQL files of one pipeline."""

    def __init__(self, folder: Path, pipeline: Pipeline, project: str) -> None:
        """Prepare the files in `folder`."""
        self._folder = folder
        self._pipeline = pipeline
        self._loader = sql_loader(folder)
        self._environment = sql_environment(self._loader)
        self._environment.add_extension(_MarkLines)
        self._files = SqlFiles(folder, pipeline, project, self._environment)

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the files that hold a statement."""
        return (*SQL_FILES, OUTCOMES_FILE) if self._pipeline.outcomes else SQL_FILES

    def problems(self) -> list[Problem]:
        """The errors in the files, and in files that they import, also in lines that a refresh would not reach."""
        return list(self._walk())

    def _walk(self) -> Iterator[Problem]:
        seen: set[str] = set()
        waiting = [(name, self._folder / name, 1) for name in self.names]
        while waiting:
            template, importer, imported_at = waiting.pop()
            if template in seen:
                continue
            seen.add(template)
            try:
                source, filename, _ = self._loader.get_source(self._environment, template)
                tree = self._environment.parse(source, template, filename)
                undeclared = meta.find_undeclared_variables(tree)
            except TemplateNotFound:
                yield Problem(importer, imported_at, f"{template!r} is neither in the pipeline's folder nor in dags/")
                continue
            except TemplateSyntaxError as error:
                hint = "if it is SQL, write {% raw %} before and {% endraw %} after it"
                yield Problem(
                    Path(filename), error.lineno, f"not a Jinja template: {str(error.message).rstrip('.')}; {hint}"
                )
                continue
            file = Path(filename)
            known = {*NAMES} - ({"model"} if template in _WITHOUT_MODEL else set())
            for name in tree.find_all(nodes.Name):
                if name.name in undeclared - known - self._environment.globals.keys():
                    there = ", ".join(sorted(known, key=NAMES.index))
                    message = f"{name.name}: not defined; there are {there}, and what the file defines or imports"
                    yield Problem(file, name.lineno, message)
            yield from self._undefined_variables(tree, file)
            for imported in tree.find_all((nodes.Import, nodes.FromImport, nodes.Include)):
                path = _constant(getattr(imported, "template", None))
                if path is not None:
                    waiting.append((path, file, imported.lineno))

    def render(self, name: str, refresh: Refresh, model: str | None = None) -> Rendered | Problem:
        """The statement in a file, or the error that prevents it."""
        try:
            marked = self._files.render(name, refresh, model)
        except (TemplateError, TypeError, ValueError, ArithmeticError, AttributeError, LookupError) as error:
            return self._failure(name, error)
        parts: list[str] = []
        offsets = [0]
        places = [(self._folder / name, 1)]
        end = length = 0
        for mark in _MARK.finditer(marked):
            parts.append(marked[end : mark.start()])
            end = mark.end()
            length += len(parts[-1])
            offsets.append(length)
            places.append((Path(mark["file"]), int(mark["line"])))
        return Rendered("".join([*parts, marked[end:]]), offsets, places)

    def _undefined_variables(self, tree: nodes.Template, file: Path) -> Iterator[Problem]:
        accesses: list[tuple[nodes.Expr, str | None, int]]
        accesses = [(node.node, node.attr, node.lineno) for node in tree.find_all(nodes.Getattr)]
        accesses += [(node.node, _constant(node.arg), node.lineno) for node in tree.find_all(nodes.Getitem)]
        defined = self._pipeline.variables
        for value, name, line in accesses:
            if isinstance(value, nodes.Name) and value.name == "variables" and name and name not in defined:
                known = ", ".join(defined) or "none"
                message = f"variables.{name}: not defined; add it to variables in pipeline.yaml (there: {known})"
                yield Problem(file, line, message)

    def _failure(self, name: str, error: Exception) -> Problem:
        """The error and the place of a failed rendering. Jinja puts the lines of templates into the traceback."""
        frames = traceback.extract_tb(error.__traceback__)
        place = next(
            ((frame.filename, frame.lineno) for frame in reversed(frames) if frame.filename.endswith(".sql")), None
        )
        file, line = place or (str(self._folder / name), None)
        message = str(error)
        if any(message == f"'{known}' is undefined" for known in NAMES):
            message += "; import the file that uses it `with context`"
        return Problem(Path(file), line, message)


def _constant(value: nodes.Node | None) -> str | None:
    """The string that a node stands for; None if it is known only when the template is rendered."""
    return value.value if isinstance(value, nodes.Const) and isinstance(value.value, str) else None
