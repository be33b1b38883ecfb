"""BigQuery's SQL, parsed by sqlglot."""

import logging
from collections.abc import Iterator
from typing import Any

from sqlglot import Token, TokenType, exp
from sqlglot.dialects.bigquery import BigQuery
from sqlglot.errors import ParseError, TokenError

RESERVED = frozenset(BigQuery.Generator.RESERVED_KEYWORDS)

_DIALECT = BigQuery()
_TRIPLE = ("'''", '"""')


class SqlError(Exception):
    """SQL that the parser does not understand."""

    def __init__(self, message: str, offset: int) -> None:
        """Give the message, and the offset of the character that it is about."""
        super().__init__(message)
        self.offset = offset


def parse(sql: str) -> list[exp.Expr]:
    """The statements in a text.

    Raises:
        SqlError: the text is not BigQuery's SQL.
    """
    logging.getLogger("sqlglot").setLevel(logging.ERROR)  # its warnings are errors here
    try:
        tokens = _DIALECT.tokenize(sql)
    except TokenError as error:
        raise SqlError("a string, a name or a comment does not end", _first_untokenizable(sql)) from error
    for token in tokens:
        text = sql[token.start : token.end + 1]
        if text[0] in "'\"" and "\n" in text and text[:3] not in _TRIPLE:
            raise SqlError("a string does not end on its line", token.start)
    tokens = list(_without_argument_keywords(tokens))
    statements = _parse(tokens, sql)
    for statement in statements:
        if isinstance(statement, exp.Command):
            if tokens[0].text.upper() == "CREATE":
                _parse(_after_as(tokens), sql)  # parsing the query alone gives the reason
            raise SqlError(f"not a statement that could be checked: {statement.this}", 0)
    return statements


def _parse(tokens: list[Token], sql: str) -> list[exp.Expr]:
    try:
        statements = _DIALECT.parser().parse(tokens, sql)
        # A comment after the last semicolon is a statement to sqlglot, but not to BigQuery.
        return [each for each in statements if each is not None and not isinstance(each, exp.Semicolon)]
    except ParseError as error:
        first = error.errors[0]
        shown = f" at {first['highlight']!r}" if first["highlight"] else ""
        raise SqlError(f"{first['description']}{shown}", _offset(sql, first["line"], first["col"])) from error


def options(statement: exp.Create) -> dict[str, Any]:
    """The options of a CREATE MODEL that are strings or arrays of strings, by name in lower case."""
    found: dict[str, Any] = {}
    for option in statement.find_all(exp.Property):
        value = option.args.get("value")
        if isinstance(value, exp.Literal) and value.is_string:
            found[option.name.lower()] = value.this
        elif isinstance(value, exp.Array):
            found[option.name.lower()] = [item.name for item in value.expressions]
    return found


def offset(node: exp.Expr) -> int:
    """The smallest offset of the identifiers in a node; 0 if it has none."""
    return min((name.meta["start"] for name in node.find_all(exp.Identifier) if "start" in name.meta), default=0)


def columns(query: exp.Query) -> list[str] | None:
    """The names of a query's columns, '' for one without a name; None if a `*` hides them."""
    scope = {cte.alias: cte.this for cte in query.find_all(exp.CTE)}
    return _columns(query, scope)


def _columns(query: exp.Expr, scope: dict[str, exp.Expr]) -> list[str] | None:
    if isinstance(query, exp.Subquery):
        return _columns(query.this, scope)
    if isinstance(query, exp.SetOperation):
        return _columns(query.left, scope)
    if not isinstance(query, exp.Select) or query.args.get("kind"):
        return None
    names: list[str] = []
    for column in query.selects:
        if not column.is_star:
            names.append(column.alias or (column.name if isinstance(column, exp.Column | exp.Dot) else ""))
            continue
        inner = _only_source(query, scope)
        if inner is None or any(column.args.get(part) for part in ("except_", "replace", "rename")):
            return None
        hidden = _columns(inner, scope)
        if hidden is None:
            return None
        names += hidden
    return names


def _only_source(query: exp.Select, scope: dict[str, exp.Expr]) -> exp.Expr | None:
    """The query that a query selects from; None if it selects from a table or from several sources."""
    source = query.args.get("from_")
    if source is None or query.args.get("joins"):
        return None
    table = source.this
    return scope.get(table.name) if isinstance(table, exp.Table) and not table.db else table


def reserved_aliases(statement: exp.Expr) -> Iterator[exp.Identifier]:
    """The aliases that are reserved words, which BigQuery accepts only in back quotes."""
    for node in statement.find_all(exp.Alias, exp.TableAlias):
        name = node.args.get("alias") if isinstance(node, exp.Alias) else node.this
        if isinstance(name, exp.Identifier) and not name.quoted and name.name.lower() in RESERVED:
            yield name


def _without_argument_keywords(tokens: list[Token]) -> Iterator[Token]:
    """Leave MODEL and TABLE out of the arguments of `ML.NAME(MODEL m, TABLE t)`.

    sqlglot knows these keywords in some functions only. Without them, it parses an ordinary function call.
    """
    calls: list[bool] = []  # for each open bracket: is it that of an ML function?
    texts = ["", "", "", *(token.text.upper() for token in tokens)]
    for token, module, dot, before, text in zip(tokens, texts, texts[1:], texts[2:], texts[3:], strict=False):
        if token.token_type is TokenType.L_PAREN:
            calls.append((module, dot) == ("ML", "."))
        elif token.token_type is TokenType.R_PAREN and calls:
            calls.pop()
        elif calls and calls[-1] and before in ("(", ",") and text in ("MODEL", "TABLE"):
            continue
        yield token


def _after_as(tokens: list[Token]) -> list[Token]:
    """The tokens after AS in a CREATE ... AS query."""
    depth = 0
    for position, token in enumerate(tokens, 1):
        depth += (token.token_type is TokenType.L_PAREN) - (token.token_type is TokenType.R_PAREN)
        if depth == 0 and token.token_type is TokenType.ALIAS:
            return tokens[position:]
    return []


def _first_untokenizable(sql: str) -> int:
    """The offset of the first line that cannot be split into tokens by itself."""
    begin = 0
    for line in sql.splitlines(keepends=True):
        try:
            _DIALECT.tokenize(line)
        except TokenError:
            return begin
        begin += len(line)
    return 0


def _offset(sql: str, line: int, column: int) -> int:
    """The offset of a line and a column, which both count from 1."""
    return sum(len(text) for text in sql.splitlines(keepends=True)[: line - 1]) + column - 1
