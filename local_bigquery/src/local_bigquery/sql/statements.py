"""Finds BigQuery ML in a statement.

sqlglot parses CREATE MODEL and DROP MODEL, but only some of the table functions that take a model. So the calls
`ML.NAME(MODEL ..., ...)` are cut out of the text by its tokens, whatever the name, each leaving a made-up table in its
place; the rest is parsed, and the calls are put into the syntax tree as `MLCall` nodes.
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

DIALECT = "bigquery"

_MAY_HOLD_ML = re.compile(r"\bML\s*\.|\bMODEL\b", re.IGNORECASE)
_PLACEHOLDER = "__ml_call_{}"
_REFUSED: dict[tuple[str, ...], str] = {
    ("EXPORT", "MODEL"): "EXPORT MODEL is not supported by the local BigQuery ML: a model cannot leave it",
    ("ALTER", "MODEL"): (
        "ALTER MODEL is not supported by the local BigQuery ML: change a model's description, labels and expiration "
        "through models.patch (Client.update_model, bq update --model)"
    ),
}
_MOST_GENERATED = 1_000_000
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
    """A table function that takes a model, in the place of a table's name.

    `this` is the model's path (exp.Table), `function` the name in capitals, `source` the input (exp.Query, or None),
    `thresholds` the array of thresholds that ML.ROC_CURVE takes (or None), `settings` the trailing STRUCT (exp.Struct,
    or None).
    """

    arg_types = {"this": True, "function": True, "source": False, "thresholds": False, "settings": False}  # noqa: RUF012 -- sqlglot's own declaration


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
        """The name as SQL."""
        return f"`{self.project}`.`{self.dataset}`.`{self.model}`"


@dataclass(frozen=True)
class CreateModel:
    """CREATE MODEL: the training query, and the options as plain Python values, names in lower case.

    `transform` is the select list of the TRANSFORM clause, empty if there is none.
    """

    path: exp.Table
    query: exp.Query
    options: dict[str, Any]
    replace: bool
    if_not_exists: bool
    transform: tuple[exp.Expr, ...] = ()


@dataclass(frozen=True)
class DropModel:
    """DROP MODEL."""

    path: exp.Table
    if_exists: bool


@dataclass(frozen=True)
class OtherStatement:
    """Any other statement; `tree` may hold MLCall nodes. Without a tree, sqlglot cannot parse the text."""

    text: str
    tree: exp.Expr | None


Statement = CreateModel | DropModel | OtherStatement


def may_hold_ml(sql: str) -> bool:
    """Whether a text may hold BigQuery ML, be it in a string; without it, it holds none."""
    return _MAY_HOLD_ML.search(sql) is not None


def holds_ml(statement: Statement) -> bool:
    """Whether a statement is one of BigQuery ML, or calls one of its functions."""
    if isinstance(statement, OtherStatement):
        return statement.tree is not None and statement.tree.find(MLCall) is not None
    return True


def parse(sql: str) -> Statement:
    """Return the statement in a text.

    Raises:
        BigQueryError: `invalidQuery`, if it uses BigQuery ML and cannot be parsed.
    """
    _refuse_statements(sql)
    text, calls = _cut_out_calls(sql)
    try:
        tree = _put_calls(sqlglot.parse_one(text, read=DIALECT), calls)
    except SqlglotError as error:
        if calls:
            raise invalid_query(f"Syntax error in a statement that uses BigQuery ML: {error}") from error
        return OtherStatement(sql, None)  # whatever this is, the emulator says what is wrong with it
    if len(list(tree.find_all(MLCall))) < len(calls):  # sqlglot leaves the body of a procedure as it is
        raise invalid_query("BigQuery ML functions inside CREATE PROCEDURE are not supported locally")
    return _statement(sql, tree)


def model_path(table: exp.Table, project: str, dataset: str | None) -> ModelPath:
    """Return the full name for a model's path in SQL.

    Args:
        table: The path as written.
        project: The project for a path that names none.
        dataset: The dataset for a path that names none; None if the job has no default dataset.

    Raises:
        BigQueryError: `invalidQuery`, if the path names no dataset and there is no default.
    """
    dataset = table.db or dataset
    if not dataset:
        raise invalid_query(f"Model {table.name!r} must be qualified with a dataset (dataset.model)")
    return ModelPath(table.catalog or project, dataset, table.name)


def constant(node: exp.Expr, what: str) -> Any:
    """Return the Python value of a constant: a string, number, bool, None, or a list or tuple of them.

    Raises:
        BigQueryError: `invalidQuery`, naming `what`, if the expression is not a constant.
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
            value = -constant(node.this, what)
        case exp.Array():
            value = [constant(item, what) for item in node.expressions]
        case exp.GenerateSeries():
            bounds = [constant(node.args[key], what) for key in ("start", "end", "step") if node.args.get(key)]
            value = _generated_array(bounds, what)
        case exp.Tuple() | exp.Struct():
            value = tuple(constant(item.unalias(), what) for item in node.expressions)
        case exp.Paren():
            value = constant(node.this, what)
        case _:
            raise invalid_query(f"{what} must be a constant, not {node.sql(DIALECT)}")
    return value


def _generated_array(bounds: list[Any], what: str) -> list[float]:
    """Return what GENERATE_ARRAY returns for a start, an end and perhaps a step."""
    start, end, step = bounds if len(bounds) == 3 else (*bounds, 1)  # noqa: PLR2004 -- start, end and step
    if not all(isinstance(bound, int | float) for bound in (start, end, step)) or step == 0:
        raise invalid_query(f"{what}: GENERATE_ARRAY takes a start, an end and a step other than 0, all numbers")
    count = math.floor((end - start) / step + 1e-9) + 1  # 0.4 to 0.6 by 0.01 ends at 0.6, whatever the rounding
    if count > _MOST_GENERATED:
        raise invalid_query(f"{what}: GENERATE_ARRAY makes {count} numbers; there can be {_MOST_GENERATED}")
    return [start + i * step for i in range(count)]


def _refuse_statements(sql: str) -> None:
    tokens = sqlglot.tokenize(sql, read=DIALECT)
    starts = [0, *(i + 1 for i, token in enumerate(tokens) if token.token_type is TokenType.SEMICOLON)]
    for start in starts:
        reason = _REFUSED.get(tuple(token.text.upper() for token in tokens[start : start + 2]))
        if reason is not None:
            raise invalid_query(reason)


def _cut_out_calls(sql: str) -> tuple[str, list[MLCall]]:
    """Replace every call by a made-up table, the last in the text first: an inner call comes after its outer one."""
    calls: list[MLCall] = []
    while True:
        tokens = sqlglot.tokenize(sql, read=DIALECT)
        start = next((i for i in reversed(range(len(tokens))) if _is_call(tokens, i)), None)
        if start is None:
            return sql, calls
        end, commas = _extent(tokens, start + 3)
        bounds = [start + 3, *commas, end]
        # From token to token, so that comments around an argument are left out.
        arguments = [sql[tokens[left + 1].start : tokens[right - 1].end + 1] for left, right in pairwise(bounds)]
        placeholder = _PLACEHOLDER.format(len(calls))
        calls.append(_call(tokens[start + 2].text.upper(), arguments))
        sql = f"{sql[: tokens[start].start]}{placeholder}{sql[tokens[end].end + 1 :]}"


def _is_call(tokens: list[Token], start: int) -> bool:
    """Whether the tokens from `start` on read `ML . NAME ( MODEL`."""
    head = [token.text.upper() for token in tokens[start : start + 5]]
    return len(head) == 5 and head[:2] == ["ML", "."] and head[3:] == ["(", "MODEL"]  # noqa: PLR2004 -- five tokens


def _extent(tokens: list[Token], opening: int) -> tuple[int, list[int]]:
    """Return where the parenthesis at `opening` closes, and the commas that separate its arguments."""
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
    """Build the node of a call from the text of its arguments: model, then input, then settings."""
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


def _put_calls(tree: exp.Expr, calls: list[MLCall]) -> exp.Expr:
    """Put the calls where their made-up tables are, also inside the inputs of other calls."""
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
    """Refuse the functions that are there in the TRANSFORM clause only."""
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
