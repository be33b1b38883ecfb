"""Messages of BigQuery with their places, and edits of a statement that keep these places."""

import re
from typing import TYPE_CHECKING, Any

from local_bigquery.analyzer.service import ServiceError, TooDeepError, call

if TYPE_CHECKING:
    from local_bigquery.analyzer.syntax import TableFunctionCall

_LINES = re.compile("(?<=\n)|(?<=\r)(?!\n)")
_GROUP = re.compile(r"\b(?:ROUTINE|BIGQUERY|BIGQUERY ML):(?=\w)")
"""The groups of functions that the catalog adds, as ZetaSQL names them in messages."""

_TAB = 8
"""ZetaSQL fills the line at a tab up to the next multiple of this (zetasql/public/parse_location.h)."""


class GoogleSqlError(Exception):
    """SQL that BigQuery would refuse."""

    def __init__(self, message: str, offset: int) -> None:
        """Give the message, and the offset of the character that it is about."""
        super().__init__(message)
        self.message = message
        self.offset = offset


class UnknownOutputError(Exception):
    """A statement uses a function or view whose type or columns are not known, or is too deep to be analysed."""


class Text:
    """A statement in which table functions get names of their own. Offsets are in bytes of UTF-8 inside the class."""

    def __init__(self, sql: str) -> None:
        self._bytes = sql.encode()
        self._edits: list[tuple[int, int, bytes]] = []
        self._aliases: dict[str, str] = {}

    def replace(self, begin: int, end: int, new: bytes) -> None:
        """Replace a part of the text, unless it is inside of a part that is replaced already."""
        if not any(other <= begin < stop for other, stop, _ in self._edits):
            self._edits.append((begin, end, new))

    def rename(self, call: "TableFunctionCall", alias: str) -> None:
        """Rename the function of a call to `alias`, and remove the model.

        A catalog can describe a function with the arguments that are left.
        """
        self._aliases[alias] = call.function
        for begin, end, new in call.edits:
            self.replace(begin, end, f"`{alias}`".encode() if new is None else new)

    def edited(self) -> str:
        """Return the text with its edits."""
        parts, end = [], 0
        self._edits.sort()
        for begin, stop, new in self._edits:
            parts += [self._bytes[end:begin], new]
            end = stop
        return b"".join([*parts, self._bytes[end:]]).decode()

    def offset(self, line: int, column: int) -> int:
        """Return the offset in the original, in characters, of a line and a column of the edited text.

        ZetaSQL counts both from 1.
        """
        lines = _LINES.split(self.edited())
        text, at = lines[line - 1] if line <= len(lines) else "", 1
        index = 0
        while at < column and index < len(text):
            at = _after(text[index], at)
            index += 1
        place = len("".join([*lines[: line - 1], text[:index]]).encode())
        for begin, stop, new in self._edits:
            if place < begin:
                break
            place = begin if place < begin + len(new) else place - len(new) + stop - begin
        return len(self._bytes[:place].decode(errors="ignore"))

    def call(self, method: str, request: Any, response: Any) -> Any:
        """Call a method of ZetaSQL with the text; return its response.

        Raises:
            GoogleSqlError: the text is wrong.
            UnknownOutputError: the text is nested too deep.
        """
        try:
            return call(method, request, response)
        except TooDeepError:
            raise UnknownOutputError("a statement of this depth") from None
        except ServiceError as error:
            message = _GROUP.sub("", error.message)
            for alias, function in self._aliases.items():
                message = message.replace(alias, function)
            raise GoogleSqlError(message, self.offset(error.line, error.column) if error.line else 0) from None


def position(sql: str, offset: int) -> tuple[int, int]:
    """Return the line and the column of a character, as BigQuery's messages count them."""
    *lines, text = _LINES.split(sql[:offset])
    column = 1
    for character in text:
        column = _after(character, column)
    return len(lines) + 1, column


def _after(character: str, column: int) -> int:
    return (column - 1) // _TAB * _TAB + _TAB + 1 if character == "\t" else column + 1
