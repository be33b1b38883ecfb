"""Reads BigQuery's procedural language: which statements a text holds, and how control passes between them.

sqlglot tells the tokens; statements and expressions stay text here, and are parsed when they run.

https://cloud.google.com/bigquery/docs/reference/standard-sql/procedural-language
"""

from collections.abc import Iterator
from dataclasses import dataclass, fields
from typing import ClassVar, Literal

from sqlglot import Token, TokenType
from sqlglot.dialects.bigquery import BigQuery

from local_bigquery.errors import invalid_query


@dataclass(frozen=True)
class Sql:
    """A statement that is not of the procedural language."""

    text: str


@dataclass(frozen=True)
class Assert:
    """ASSERT condition [AS description]."""

    condition: str
    description: str | None


@dataclass(frozen=True)
class Raise:
    """RAISE [USING MESSAGE = message]."""

    message: str | None


@dataclass(frozen=True)
class Declare:
    """DECLARE names [type] [DEFAULT default]."""

    names: tuple[str, ...]
    type: str | None
    default: str | None


@dataclass(frozen=True)
class Assign:
    """SET name = value, or SET (names) = value."""

    names: tuple[str, ...]
    value: str


@dataclass(frozen=True)
class If:
    """IF ... THEN ... ELSEIF ... ELSE ... END IF."""

    branches: tuple[tuple[str, "Steps"], ...]
    otherwise: "Steps"


@dataclass(frozen=True)
class Loop:
    """LOOP, WHILE (`condition`, tested before the body) and REPEAT (`until`, tested after it)."""

    body: "Steps"
    condition: str | None = None
    until: str | None = None


@dataclass(frozen=True)
class For:
    """FOR variable IN (query) DO ... END FOR."""

    variable: str
    query: str
    body: "Steps"


@dataclass(frozen=True)
class Block:
    """BEGIN ... [EXCEPTION WHEN ERROR THEN handler] END."""

    body: "Steps"
    handler: "Steps | None"


@dataclass(frozen=True)
class ExecuteImmediate:
    """EXECUTE IMMEDIATE sql [INTO names] [USING values]; a value is an expression, or `expression AS name`."""

    sql: str
    into: tuple[str, ...]
    using: tuple[str, ...]


@dataclass(frozen=True)
class Jump:
    """BREAK, CONTINUE or RETURN; LEAVE and ITERATE are other words for the first two."""

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


def read_script(sql: str) -> Steps:
    """Return the statements of a text.

    Raises:
        BigQueryError: `invalidQuery`, if control statements do not fit together.
        sqlglot.errors.TokenError: If the text does not even consist of tokens.
    """
    reader = _Reader(sql)
    steps = reader.steps()
    if not reader.at_end:
        raise reader.unexpected()
    return steps


def pieces(steps: Steps) -> Iterator[str]:
    """Return the SQL in a script: statements as they are, expressions as queries."""
    for step in steps:
        match step:
            case Sql(text):
                yield text
            case For(_, query, body):
                yield query
                yield from pieces(body)
            case If(branches, otherwise):
                for condition, body in branches:
                    yield select(condition)
                    yield from pieces(body)
                yield from pieces(otherwise)
            case Block(body, handler):
                yield from pieces(body)
                yield from pieces(handler or ())
            case Loop(body, condition, until):
                yield from (select(text) for text in (condition, until) if text)
                yield from pieces(body)
            case Assert(text, _) | Assign(_, text) | Raise(str(text)) | Declare(_, _, str(text)):
                yield select(text)
            case ExecuteImmediate(text, _, using):
                yield from (select(text) for text in (text, *using))


def every(steps: Steps) -> Iterator[Step]:
    """Return the steps of a script and those within them."""
    for step in steps:
        yield step
        for field in fields(step):
            value = getattr(step, field.name)
            if field.name in ("body", "handler", "otherwise") and value:
                yield from every(value)
            elif field.name == "branches":
                for _, body in value:
                    yield from every(body)


def select(expression: str) -> str:
    """Return a query for the value of an expression; it may end in a comment."""
    return f"SELECT {expression}\n"


def number_parameters(sql: str, name: str) -> tuple[str, int]:
    """Give positional parameters names, so that they stay what they are when the text is taken to pieces.

    Args:
        sql: The text.
        name: What the names begin with; the place of the parameter follows, counted from 0.

    Returns:
        The text with named parameters, and their number.
    """
    places = [token for token in _tokens(sql) if token.token_type is TokenType.PLACEHOLDER]
    for number, token in reversed(list(enumerate(places))):
        sql = f"{sql[: token.start]}@{name}{number}{sql[token.end + 1 :]}"
    return sql, len(places)


class _Tokenizer(BigQuery.Tokenizer):
    # sqlglot takes what follows BEGIN, ELSEIF, EXECUTE, ... for one piece of text.
    COMMANDS: ClassVar[set[TokenType]] = set()


def _tokens(sql: str) -> list[Token]:
    return _Tokenizer(dialect="bigquery").tokenize(sql)


class _Reader:
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
        """Read statements up to the end, or one of these words."""
        steps: list[Step] = []
        while not self.at_end and self._word() not in until:
            if not self._take(";"):
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
        return Declare(names, kind, self._text(";") if self._take("DEFAULT") else None)

    def _assign(self) -> Assign | Sql:
        self._expect("SET")
        if self._word() == "@":
            self._next -= 1
            return Sql(self._text(";"))  # a system variable
        several = self._take("(")
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
        otherwise = self.steps("END") if self._take("ELSE") else ()
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
        if self._take("EXCEPTION"):
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
        if not self._take("USING"):
            return Raise(None)
        self._expect("MESSAGE", "=")
        return Raise(self._text(";"))

    def _assert(self) -> Assert:
        self._expect("ASSERT")
        condition = self._text("AS", ";")
        return Assert(condition, self._text(";") if self._take("AS") else None)

    def _execute(self) -> ExecuteImmediate:
        self._expect("EXECUTE", "IMMEDIATE")
        sql = self._text("INTO", "USING", ";")
        into = self._names() if self._take("INTO") else ()
        using = []
        if self._take("USING"):
            using.append(self._text(",", ";"))
            while self._take(","):
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

    def _take(self, word: str) -> bool:
        found = self._word() == word
        self._next += found
        return found

    def _expect(self, *words: str) -> None:
        for word in words:
            if not self._take(word):
                raise self.unexpected()

    def _names(self) -> tuple[str, ...]:
        names = []
        while True:
            if self.at_end:
                raise self.unexpected()
            names.append(self._tokens[self._next].text)
            self._next += 1
            if not self._take(","):
                return tuple(names)

    def _text(self, *until: str) -> str:
        """Read up to one of these words that is not within parentheses or CASE ... END; a `;` always ends it."""
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
