"""Parses a statement that may contain BigQuery ML.

sqlglot parses CREATE MODEL and DROP MODEL, but only some of the table functions that take a model. So every call
`ML.NAME(MODEL ..., ...)` is found in the tokens and replaced by a placeholder table, and parsed separately. Then the
rest is parsed, and `MLCall` nodes replace the placeholders in the syntax tree.
"""

import math
import re
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import sqlglot
from sqlglot import Token, TokenType, exp
from sqlglot.errors import SqlglotError

from local_bigquery.errors import invalid_query
from local_bigquery.sql import DIALECT

_MAY_CONTAIN_ML = re.compile(r"\bML\s*\.|\bMODEL\b", re.IGNORECASE)
_PLACEHOLDER = "__ml_call_{}"
_REFUSED: dict[tuple[str, ...], str] = {
    ("EXPORT", "MODEL"): "EXPORT MODEL is not supported by the local BigQuery ML: a model cannot leave it",
    ("ALTER", "MODEL"): (
        "ALTER MODEL is not supported by the local BigQuery ML: change a model's description, labels and expiration "
        "through models.patch (Client.update_model, bq update --model)"
    ),
}
_MAX_GENERATED = 1_000_000
# https://cloud.google.com/bigquery/docs/manual-preprocessing
_PREPROCESSING = {
    "BAG_OF_WORDS",
    "BUCKETIZE",
    "FEATURE_CROSS",
    "HASH_BUCKETIZE",
    "IMPUTER",
    "LABEL_ENCODER",
    "MAX_ABS_SCALER",
    "MIN_MAX_SCALER",
    "MULTI_HOT_ENCODER",
    "NGRAMS",
    "NORMALIZER",
    "ONE_HOT_ENCODER",
    "POLYNOMIAL_EXPAND",
    "QUANTILE_BUCKETIZE",
    "ROBUST_SCALER",
    "STANDARD_SCALER",
    "TF_IDF",
}
_OPENING = {TokenType.L_PAREN, TokenType.L_BRACKET, TokenType.L_BRACE}
_CLOSING = {TokenType.R_PAREN, TokenType.R_BRACKET, TokenType.R_BRACE}


class MLCall(exp.Expression):
    """A call of a table function that takes a model; it replaces the name in a table reference.

    `this` is the model's path (exp.Table), `function` the name in capitals without `ML.`, `source` the input (exp.Query
    or None), `thresholds` the array of thresholds of ML.ROC_CURVE (or None), `settings` the trailing STRUCT (exp.Struct
    or None).
    """

    arg_types = {"this": True, "function": True, "source": False, "thresholds": False, "settings": False}  # noqa: RUF012  as sqlglot declares it


@dataclass(frozen=True)
class ModelPath:
    """The full name of a model."""

    project: str
    dataset: str
    model: str

    def __str__(self) -> str:
        return f"{self.project}:{self.dataset}.{self.model}"

    @property
    def sql(self) -> str:
        """The name as SQL writes it."""
        return f"`{self.project}`.`{self.dataset}`.`{self.model}`"

    @property
    def rest_path(self) -> str:
        """The path of the model's resource below `/bigquery/v2/projects/`."""
        return f"{self.project}/datasets/{self.dataset}/models/{self.model}"


@dataclass(frozen=True)
class CreateModel:
    """A CREATE MODEL statement.

    Attributes:
        path: the model's name.
        query: the training query.
        options: the values of OPTIONS by their names in lower case.
        replace: whether it says OR REPLACE.
        if_not_exists: whether it says IF NOT EXISTS.
        transform: the select list of the TRANSFORM clause; empty if there is none.
    """

    path: exp.Table
    query: exp.Query
    options: dict[str, Any]
    replace: bool
    if_not_exists: bool
    transform: tuple[exp.Expr, ...] = ()


@dataclass(frozen=True)
class DropModel:
    """A DROP MODEL statement."""

    path: exp.Table
    if_exists: bool


@dataclass(frozen=True)
class OtherStatement:
    """Any other statement. `tree` may contain MLCall nodes; it is None if sqlglot cannot parse the text."""

    text: str
    tree: exp.Expr | None


Statement = CreateModel | DropModel | OtherStatement


def may_contain_ml(sql: str) -> bool:
    """Return False if a text certainly contains no BigQuery ML. Strings and comments are not told apart."""
    return _MAY_CONTAIN_ML.search(sql) is not None


def contains_ml(statement: Statement) -> bool:
    """Return True if a statement is one of BigQuery ML, or calls one of its functions."""
    if isinstance(statement, OtherStatement):
        return statement.tree is not None and statement.tree.find(MLCall) is not None
    return True


def parse(sql: str) -> Statement:
    """Return the statement in a text.

    Raises:
        BigQueryError: `invalidQuery` if it uses BigQuery ML and cannot be parsed.
    """
    _refuse_statements(sql)
    text, calls = _extract_calls(sql)
    try:
        tree = _insert_calls(sqlglot.parse_one(text, read=DIALECT), calls)
    except SqlglotError as error:
        if calls:
            raise invalid_query(f"Syntax error in a statement that uses BigQuery ML: {error}") from error
        return OtherStatement(sql, None)  # the emulator reports the error
    # sqlglot does not parse the body of a procedure.
    if len(list(tree.find_all(MLCall))) < len(calls):
        raise invalid_query("BigQuery ML functions inside CREATE PROCEDURE are not supported locally")
    return _statement(sql, tree)


def model_path(table: exp.Table, project: str, dataset: str | None) -> ModelPath:
    """Return the full name of a model.

    Args:
        table: the name as written in SQL.
        project: the project of a name without one.
        dataset: the dataset of a name without one; None if the job has no default dataset.

    Raises:
        BigQueryError: `invalidQuery` if the name has no dataset and there is no default.
    """
    dataset = table.db or dataset
    if not dataset:
        raise invalid_query(f"Model {table.name!r} must be qualified with a dataset (dataset.model)")
    return ModelPath(table.catalog or project, dataset, table.name)


def constant(node: exp.Expr, subject: str) -> Any:
    """Return the Python value of a constant: a string, number, bool, None, or a list or tuple of them.

    Args:
        node: the expression.
        subject: the name of the constant in messages.

    Raises:
        BigQueryError: `invalidQuery` if the expression is not a constant.
    """
    value: Any = None
    match node:
        case exp.Null():
            pass
        case exp.Literal(is_string=True) | exp.Boolean():
            value = node.this
        case exp.Literal():
            value = float(node.this) if re.search(r"[.eE]", node.this) else int(node.this)
        case exp.Neg():
            value = -constant(node.this, subject)
        case exp.Array():
            value = [constant(item, subject) for item in node.expressions]
        case exp.GenerateSeries():
            bounds = [constant(node.args[key], subject) for key in ("start", "end", "step") if node.args.get(key)]
            value = _generated_array(bounds, subject)
        case exp.Tuple() | exp.Struct():
            value = tuple(constant(item.unalias(), subject) for item in node.expressions)
        case exp.Paren():
            value = constant(node.this, subject)
        case _:
            raise invalid_query(f"{subject} must be a constant, not {node.sql(DIALECT)}")
    return value


def _generated_array(bounds: list[Any], subject: str) -> list[float]:
    """Return the result of GENERATE_ARRAY for a start, an end and optionally a step."""
    start, end, step = bounds if len(bounds) == 3 else (*bounds, 1)  # noqa: PLR2004  start, end and step
    if not all(isinstance(bound, int | float) for bound in (start, end, step)) or step == 0:
        raise invalid_query(f"{subject}: GENERATE_ARRAY takes a start, an end and a step other than 0, all numbers")
    # The tolerance makes 0.4 to 0.6 by 0.01 end at 0.6 in spite of rounding errors.
    count = math.floor((end - start) / step + 1e-9) + 1
    if count > _MAX_GENERATED:
        raise invalid_query(f"{subject}: GENERATE_ARRAY makes {count} numbers; the maximum is {_MAX_GENERATED}")
    return [start + i * step for i in range(count)]


def _refuse_statements(sql: str) -> None:
    tokens = sqlglot.tokenize(sql, read=DIALECT)
    starts = [0, *(i + 1 for i, token in enumerate(tokens) if token.token_type is TokenType.SEMICOLON)]
    for start in starts:
        reason = _REFUSED.get(tuple(token.text.upper() for token in tokens[start : start + 2]))
        if reason is not None:
            raise invalid_query(reason)


def _extract_calls(sql: str) -> tuple[str, list[MLCall]]:
    """Replace every call by a placeholder table, from the last to the first, so that inner calls precede outer ones."""
    calls: list[MLCall] = []
    while True:
        tokens = sqlglot.tokenize(sql, read=DIALECT)
        start = next((i for i in reversed(range(len(tokens))) if _is_call(tokens, i)), None)
        if start is None:
            return sql, calls
        end, commas = _extent(tokens, start + 3)
        bounds = [start + 3, *commas, end]
        # The text from the first to the last token of an argument excludes comments around it.
        arguments = [sql[tokens[left + 1].start : tokens[right - 1].end + 1] for left, right in pairwise(bounds)]
        placeholder = _PLACEHOLDER.format(len(calls))
        calls.append(_call(tokens[start + 2].text.upper(), arguments))
        sql = f"{sql[: tokens[start].start]}{placeholder}{sql[tokens[end].end + 1 :]}"


def _is_call(tokens: list[Token], start: int) -> bool:
    """Return True if the tokens from `start` on are `ML . NAME ( MODEL`."""
    head = [token.text.upper() for token in tokens[start : start + 5]]
    return len(head) == 5 and head[:2] == ["ML", "."] and head[3:] == ["(", "MODEL"]  # noqa: PLR2004  five tokens


def _extent(tokens: list[Token], opening: int) -> tuple[int, list[int]]:
    """Return the position of the parenthesis that closes `opening`, and of the commas between the arguments."""
    depth = 0
    commas: list[int] = []
    for i in range(opening, len(tokens)):
        if tokens[i].token_type in _OPENING:
            depth += 1
        elif tokens[i].token_type in _CLOSING:
            depth -= 1
            if depth == 0:
                return i, commas
        elif tokens[i].token_type is TokenType.COMMA and depth == 1:
            commas.append(i)
    raise invalid_query(f"Syntax error: ML.{tokens[opening - 1].text} has no closing parenthesis")


def _call(function: str, arguments: list[str]) -> MLCall:
    """Return the node of a call, from the texts of its arguments: model, input, settings."""
    path = _parse_part(re.sub(r"^\s*MODEL\b", "SELECT * FROM ", arguments[0], flags=re.IGNORECASE), function)
    call = MLCall(this=path.find(exp.Table), function=function)
    node: exp.Expr | None
    for argument in arguments[1:]:
        if re.match(r"\s*STRUCT\b", argument, re.IGNORECASE):
            name, node = "settings", _parse_part(f"SELECT {argument}", function).find(exp.Struct)
        elif re.match(r"\s*TABLE\b", argument, re.IGNORECASE):
            name, node = "source", _parse_part(f"SELECT * FROM {argument.strip()[5:]}", function)
        elif re.match(r"\s*(GENERATE_ARRAY\b|ARRAY\b|\[)", argument, re.IGNORECASE):
            name, node = "thresholds", _parse_part(f"SELECT {argument}", function).selects[0]
        else:
            name, node = "source", _parse_part(argument, function)
            node = node.unnest() if isinstance(node, exp.Subquery) and not node.args.get("with_") else node
        if node is None or call.args.get(name) is not None:
            raise invalid_query(
                f"ML.{function}: unexpected argument {argument.strip()}; it takes MODEL name, then a TABLE or a "
                "(query), then a STRUCT of settings"
            )
        call.set(name, node)
    return call


def _parse_part(sql: str, function: str) -> exp.Query:
    try:
        tree = sqlglot.parse_one(sql, read=DIALECT)
    except SqlglotError as error:
        raise invalid_query(f"Syntax error in an argument of ML.{function}: {error}") from error
    if not isinstance(tree, exp.Query):
        raise invalid_query(f"ML.{function}: {sql.strip()} is not a query")
    return tree


def _insert_calls(tree: exp.Expr, calls: list[MLCall]) -> exp.Expr:
    """Replace the placeholder tables by their calls, also in the inputs of other calls."""
    by_name = {_PLACEHOLDER.format(i): call for i, call in enumerate(calls)}
    pending: list[exp.Expr] = [tree]
    while pending:
        for table in list(pending.pop().find_all(exp.Table)):
            call = by_name.get(table.name)
            if call is not None and not isinstance(table.this, MLCall):
                table.set("this", call)
                pending.append(call)
    return tree


def _statement(sql: str, tree: exp.Expr) -> Statement:
    if isinstance(tree, exp.Create) and tree.kind == "MODEL":
        _refuse_preprocessing(tree.expression)
        return _create_model(tree)
    _refuse_preprocessing(tree)
    if isinstance(tree, exp.Drop) and tree.kind == "MODEL":
        return DropModel(path=tree.this, if_exists=bool(tree.args.get("exists")))
    return OtherStatement(sql, tree)


def _refuse_preprocessing(tree: exp.Expr | None) -> None:
    """Refuse the functions that are supported in the TRANSFORM clause only."""
    for node in tree.find_all(exp.Dot) if tree is not None else ():
        name = node.expression.name.upper()
        if isinstance(node.expression, exp.Anonymous) and node.this.name.upper() == "ML" and name in _PREPROCESSING:
            raise invalid_query(
                f"ML.{name} is not supported here by the local BigQuery ML: put it into the TRANSFORM clause of "
                "CREATE MODEL"
            )


def _create_model(tree: exp.Create) -> CreateModel:
    if tree.args.get("replace") and tree.args.get("exists"):
        raise invalid_query("CREATE MODEL cannot have both OR REPLACE and IF NOT EXISTS")
    options: dict[str, Any] = {}
    transform: tuple[exp.Expr, ...] = ()
    properties = tree.args.get("properties")
    for item in properties.expressions if properties else []:
        if isinstance(item, exp.TransformModelProperty):
            transform = tuple(item.expressions)
            continue
        if not isinstance(item.this, exp.Var | exp.Identifier):
            raise invalid_query(f"CREATE MODEL: {item.sql(DIALECT)} is not supported by the local BigQuery ML")
        name = item.this.name.lower()
        if name in options:
            raise invalid_query(f"Duplicate option {name!r} in the OPTIONS of CREATE MODEL")
        options[name] = constant(item.args["value"], f"Option {name!r}")
    if not isinstance(tree.expression, exp.Query):
        raise invalid_query("CREATE MODEL needs a training query: CREATE MODEL name OPTIONS(...) AS SELECT ...")
    return CreateModel(
        path=tree.this,
        query=tree.expression,
        options=options,
        replace=bool(tree.args.get("replace")),
        if_not_exists=bool(tree.args.get("exists")),
        transform=transform,
    )
