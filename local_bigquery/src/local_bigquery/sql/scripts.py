"""Parses BigQuery's procedural language into steps.

The tokens are sqlglot's. Statements and expressions remain text, which is parsed when it runs.

https://cloud.google.com/bigquery/docs/reference/standard-sql/procedural-language
"""

from collections.abc import Iterator
from dataclasses import dataclass, fields
from typing import ClassVar, Literal

from sqlglot import Token, TokenType
from sqlglot.dialects.bigquery import BigQuery

from local_bigquery.errors import invalid_query
from local_bigquery.sql import DIALECT


@dataclass(frozen=True)
class Sql:
    """A statement of plain SQL."""

    text: str


@dataclass(frozen=True)
class Assert:
    """The statement `ASSERT condition [AS description]`."""

    condition: str
    description: str | None


@dataclass(frozen=True)
class Raise:
    """The statement `RAISE [USING MESSAGE = message]`."""

    message: str | None


@dataclass(frozen=True)
class Declare:
    """The statement `DECLARE names [type] [DEFAULT default]`."""

    names: tuple[str, ...]
    type: str | None
    default: str | None


@dataclass(frozen=True)
class Assign:
    """The statement `SET name = value` or `SET (names) = value`."""

    names: tuple[str, ...]
    value: str


@dataclass(frozen=True)
class If:
    """The statement `IF ... THEN ... ELSEIF ... ELSE ... END IF`."""

    branches: tuple[tuple[str, "Steps"], ...]
    otherwise: "Steps"


@dataclass(frozen=True)
class Loop:
    """The statement LOOP, WHILE (tests `condition` before the body) or REPEAT (tests `until` after the body)."""

    body: "Steps"
    condition: str | None = None
    until: str | None = None


@dataclass(frozen=True)
class For:
    """The statement `FOR variable IN (query) DO ... END FOR`."""

    variable: str
    query: str
    body: "Steps"


@dataclass(frozen=True)
class Block:
    """The statement `BEGIN ... [EXCEPTION WHEN ERROR THEN handler] END`."""

    body: "Steps"
    handler: "Steps | None"


@dataclass(frozen=True)
class ExecuteImmediate:
    """The statement `EXECUTE IMMEDIATE sql [INTO names] [USING values]`; a value may be `expression AS name`."""

    sql: str
    into: tuple[str, ...]
    using: tuple[str, ...]


@dataclass(frozen=True)
class Jump:
    """The statement BREAK (or LEAVE), CONTINUE (or ITERATE) or RETURN."""

    to: Literal["BREAK", "CONTINUE", "RETURN"]


Step = Sql | Assert | Raise | Declare | Assign | If | Loop | For | Block | ExecuteImmediate | Jump
Steps = tuple[Step, ...]

_JUMPS: dict[str, Literal["BREAK", "CONTINUE", "RETURN"]] = {
    "BREAK": "BREAK",
    "LEAVE": "BREAK",
    "CONTINUE": "CONTINUE",
    "ITERATE": "CONTINUE",
    "RETURN": "RETURN",
}
_TEXT = {TokenType.STRING, TokenType.IDENTIFIER, TokenType.RAW_STRING, TokenType.BYTE_STRING}
_OPENING, _CLOSING = {"(", "[", "{", "CASE"}, {")", "]", "}", "END"}


def parse_script(sql: str) -> Steps:
    """Return the steps of a script; a single statement is a script of one step.

    Raises:
        BigQueryError: `invalidQuery` if a control statement is incomplete or misplaced.
        sqlglot.errors.TokenError: the text cannot be split into tokens.
    """
    parser = _Parser(sql)
    steps = parser.steps()
    if not parser.at_end:
        raise parser.unexpected()
    return steps


def sql_texts(steps: Steps) -> Iterator[str]:
    """Yield all SQL of a script: statements as they are, expressions as queries."""
    for step in walk(steps):
        match step:
            case Sql(text) | For(_, text, _):
                yield text
            case If(branches, _):
                yield from (as_query(condition) for condition, _ in branches)
            case Loop(_, condition, until):
                yield from (as_query(text) for text in (condition, until) if text)
            case Assert(text, _) | Assign(_, text) | Raise(str(text)) | Declare(_, _, str(text)):
                yield as_query(text)
            case ExecuteImmediate(text, _, using):
                yield from (as_query(text) for text in (text, *using))


def walk(steps: Steps) -> Iterator[Step]:
    """Yield all steps of a script, each followed by its inner steps."""
    for step in steps:
        yield step
        for field in fields(step):
            value = getattr(step, field.name)
            if field.name in ("body", "handler", "otherwise") and value:
                yield from walk(value)
            elif field.name == "branches":
                for _, body in value:
                    yield from walk(body)


def as_query(expression: str) -> str:
    """Return a query for the value of an expression."""
    return f"SELECT {expression}\n"  # the line break ends a comment


def name_parameters(sql: str, prefix: str) -> tuple[str, int]:
    """Replace positional parameters by named ones, which keep their meaning when the script is split.

    Args:
        sql: the text.
        prefix: the beginning of the names; the position of the parameter from 0 on follows.

    Returns:
        The text with named parameters, and their number.
    """
    places = [token for token in _tokens(sql) if token.token_type is TokenType.PLACEHOLDER]
    for number, token in reversed(list(enumerate(places))):
        sql = f"{sql[: token.start]}@{prefix}{number}{sql[token.end + 1 :]}"
    return sql, len(places)


class _Tokenizer(BigQuery.Tokenizer):
    # By default sqlglot makes everything after BEGIN, ELSEIF, EXECUTE and others one token.
    COMMANDS: ClassVar[set[TokenType]] = set()


def _tokens(sql: str) -> list[Token]:
    return _Tokenizer(dialect=DIALECT).tokenize(sql)


class _Parser:
    def __init__(self, sql: str) -> None:
        self._sql = sql
        self._tokens = _tokens(sql)
        self._words = ["" if token.token_type in _TEXT else token.text.upper() for token in self._tokens]
        self._next = 0

    @property
    def at_end(self) -> bool:
        return self._next >= len(self._tokens)

    def unexpected(self) -> Exception:
        token = self._tokens[self._next - 1 if self.at_end else self._next]
        found = "end of script" if self.at_end else f'"{token.text}"'
        return invalid_query(f"Syntax error: Unexpected {found} at [{token.line}:{token.col}]")

    def steps(self, *until: str) -> Steps:
        """Parse steps up to the end or to one of these words."""
        steps: list[Step] = []
        while not self.at_end and self._word() not in until:
            if not self._accept(";"):
                steps.append(self._step())
                if not self.at_end:
                    self._expect(";")
        return tuple(steps)

    def _step(self) -> Step:
        word = self._word()
        if word in _JUMPS:
            self._next += 1
            return Jump(_JUMPS[word])
        read = self._CONTROL.get(word)
        starts_transaction = self._words[self._next : self._next + 2] == ["BEGIN", ";"]
        if read is not None and not starts_transaction:
            return read(self)
        if word == "CREATE" and "PROCEDURE" in self._words[self._next : self._next + 4]:
            return self._procedure()
        return Sql(self._text(";"))

    def _declare(self) -> Declare:
        self._expect("DECLARE")
        names = self._names()
        kind = None if self._word() == "DEFAULT" else self._text("DEFAULT", ";")
        return Declare(names, kind, self._text(";") if self._accept("DEFAULT") else None)

    def _assign(self) -> Assign | Sql:
        self._expect("SET")
        if self._word() == "@":  # a system variable
            self._next -= 1
            return Sql(self._text(";"))
        several = self._accept("(")
        names = self._names()
        if several:
            self._expect(")")
        self._expect("=")
        return Assign(names, self._text(";"))

    def _if(self) -> If:
        branches = []
        word = "IF"
        while word in ("IF", "ELSEIF"):
            self._expect(word)
            condition = self._text("THEN")
            self._expect("THEN")
            branches.append((condition, self.steps("ELSEIF", "ELSE", "END")))
            word = self._word()
        otherwise = self.steps("END") if self._accept("ELSE") else ()
        self._expect("END", "IF")
        return If(tuple(branches), otherwise)

    def _while(self) -> Loop:
        self._expect("WHILE")
        condition = self._text("DO")
        self._expect("DO")
        body = self.steps("END")
        self._expect("END", "WHILE")
        return Loop(body, condition=condition)

    def _loop(self) -> Loop:
        self._expect("LOOP")
        body = self.steps("END")
        self._expect("END", "LOOP")
        return Loop(body)

    def _repeat(self) -> Loop:
        self._expect("REPEAT")
        body = self.steps("UNTIL")
        self._expect("UNTIL")
        until = self._text("END")
        self._expect("END", "REPEAT")
        return Loop(body, until=until)

    def _for(self) -> For:
        self._expect("FOR")
        (variable,) = self._names()
        self._expect("IN")
        query = self._text("DO")
        self._expect("DO")
        body = self.steps("END")
        self._expect("END", "FOR")
        return For(variable, query.removeprefix("(").removesuffix(")"), body)

    def _block(self) -> Block:
        self._expect("BEGIN")
        body = self.steps("EXCEPTION", "END")
        handler = None
        if self._accept("EXCEPTION"):
            self._expect("WHEN", "ERROR", "THEN")
            handler = self.steps("END")
        self._expect("END")
        return Block(body, handler)

    def _procedure(self) -> Sql:
        start = self._next
        self._text("BEGIN")
        self._block()
        return Sql(self._between(start, self._next))

    def _raise(self) -> Raise:
        self._expect("RAISE")
        if not self._accept("USING"):
            return Raise(None)
        self._expect("MESSAGE", "=")
        return Raise(self._text(";"))

    def _assert(self) -> Assert:
        self._expect("ASSERT")
        condition = self._text("AS", ";")
        return Assert(condition, self._text(";") if self._accept("AS") else None)

    def _execute(self) -> ExecuteImmediate:
        self._expect("EXECUTE", "IMMEDIATE")
        sql = self._text("INTO", "USING", ";")
        into = self._names() if self._accept("INTO") else ()
        using = []
        if self._accept("USING"):
            using.append(self._text(",", ";"))
            while self._accept(","):
                using.append(self._text(",", ";"))
        return ExecuteImmediate(sql, into, tuple(using))

    _CONTROL: ClassVar = {
        "DECLARE": _declare,
        "SET": _assign,
        "IF": _if,
        "WHILE": _while,
        "LOOP": _loop,
        "REPEAT": _repeat,
        "FOR": _for,
        "BEGIN": _block,
        "RAISE": _raise,
        "ASSERT": _assert,
        "EXECUTE": _execute,
    }

    def _word(self) -> str:
        return "" if self.at_end else self._words[self._next]

    def _accept(self, word: str) -> bool:
        found = self._word() == word
        self._next += found
        return found

    def _expect(self, *words: str) -> None:
        for word in words:
            if not self._accept(word):
                raise self.unexpected()

    def _names(self) -> tuple[str, ...]:
        names = []
        while True:
            if self.at_end:
                raise self.unexpected()
            names.append(self._tokens[self._next].text)
            self._next += 1
            if not self._accept(","):
                return tuple(names)

    def _text(self, *until: str) -> str:
        """Return the text up to `;` or one of these words outside of parentheses and CASE ... END."""
        start, depth = self._next, 0
        while not self.at_end:
            word = self._word()
            if depth == 0 and (word in until or word == ";"):
                break
            depth += (word in _OPENING) - (word in _CLOSING)
            self._next += 1
        if start == self._next:
            raise self.unexpected()
        return self._between(start, self._next)

    def _between(self, start: int, end: int) -> str:
        return self._sql[self._tokens[start].start : self._tokens[end - 1].end + 1]
