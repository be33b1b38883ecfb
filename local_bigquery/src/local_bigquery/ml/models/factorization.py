"""The model type MATRIX_FACTORIZATION: the factors of users and items, by alternating least squares.

Explicit feedback minimises the squared error of the known ratings, which are the mean rating, an intercept for the user
and one for the item, and the product of their factors. Implicit feedback minimises the squared error of a preference, 1
for a known pair and 0 for any other, weighted by 1 + wals_alpha * rating (Hu, Koren, Volinsky: Collaborative Filtering
for Implicit Feedback Datasets, 2008).
https://cloud.google.com/bigquery/docs/reference/standard-sql/bigqueryml-syntax-create-matrix-factorization
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from math import log2
from time import perf_counter
from typing import Any, Self

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from scipy import sparse

from local_bigquery.errors import invalid_query
from local_bigquery.ml.features.statistics import describe
from local_bigquery.ml.features.training_data import SPLIT_OPTIONS, TrainingData, find_column, prepare
from local_bigquery.ml.metrics import (
    RANKING_FIELDS,
    REGRESSION_FIELDS,
    metrics_table,
    ranking_metrics,
    regression_metrics,
    rest_fields,
)
from local_bigquery.ml.model import ModelType, Vector, refuse_threshold
from local_bigquery.ml.models.supervised import label_numbers
from local_bigquery.ml.models.training_info import iterations
from local_bigquery.ml.options import Option, boolean, number, one_of, only, string, whole_number

_MIN_FACTORS, _MAX_FACTORS = 2, 200
_OPTIONS = (
    *(option for option in SPLIT_OPTIONS if option.name != "input_label_cols"),
    Option("feedback_type", one_of("EXPLICIT", "IMPLICIT"), "EXPLICIT"),
    Option("num_factors", whole_number(at_least=_MIN_FACTORS, at_most=_MAX_FACTORS)),
    Option("user_col", string, "user"),
    Option("item_col", string, "item"),
    Option("rating_col", string, "rating"),
    Option("wals_alpha", number(at_least=0.0)),
    Option("l2_reg", number(at_least=0.0), 1.0),
    Option("max_iterations", whole_number(at_least=1), 20),
    Option("early_stop", boolean, default=True),
    Option("min_rel_progress", number(at_least=0.0), 0.01),
    Option("warm_start", only(choice=False), default=False),
)
_WALS_ALPHA = 40.0
_MIN_L2 = 1e-9  # keeps the equations of a user or item with few ratings solvable
_SEED = 0
_SCALE = 0.1  # the standard deviation of the first factors
_MAX_NUMBERS = 2**24  # numbers in memory at a time, in a step that is done in parts
_GLOBAL = "global__INTERCEPT__"
_WEIGHTS = pa.schema(
    [
        ("processed_input", pa.string()),
        ("feature", pa.string()),
        ("factor_weights", pa.list_(pa.struct([("factor", pa.int64()), ("weight", pa.float64())]))),
        ("intercept", pa.float64()),
    ]
)


@dataclass(frozen=True)
class Side:
    """The users or the items of a model.

    Attributes:
        column: the name of their column.
        ids: their ids in ascending order; the position of an id is its number.
        factors: their factors, (ids, factors).
        intercepts: their intercepts, (ids,).
    """

    column: str
    ids: pa.Array
    factors: Vector
    intercepts: Vector

    @classmethod
    def of(cls, column: str, values: pa.ChunkedArray) -> Self:
        """Return the users or items of a column, without factors.

        Raises:
            BigQueryError: `invalidQuery` if the type cannot be an id, or an id is NULL.
        """
        if pa.types.is_nested(values.type) or pa.types.is_floating(values.type):
            raise invalid_query(f"The column {column!r} is {values.type}, which cannot be the id of a user or an item")
        if values.null_count:
            raise invalid_query(f"The column {column!r} contains {values.null_count} NULL values; filter them out")
        ids = pc.unique(values)
        return cls(column, ids.take(pc.sort_indices(ids)), np.empty((0, 0)), np.zeros(len(ids)))

    def numbers(self, values: pa.ChunkedArray) -> Vector:
        """Return the number of each id, or the number after the last one for ids that training has not seen.

        Raises:
            BigQueryError: `invalidQuery` if the ids have another type than in training.
        """
        try:
            codes = pc.index_in(values.cast(self.ids.type), value_set=self.ids)
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
            raise invalid_query(
                f"The column {self.column!r} is {values.type}, but was {self.ids.type} in training"
            ) from error
        return np.asarray(pc.fill_null(codes, len(self.ids)).to_numpy(), dtype=np.int64)

    def extended(self) -> "Side":
        """Return the side with an entry for unknown ids, whose factors and intercept are 0."""
        return replace(self, factors=np.pad(self.factors, ((0, 1), (0, 0))), intercepts=np.append(self.intercepts, 0.0))


@dataclass(frozen=True)
class Ratings:
    """Known ratings, by the numbers of users and items; all (ratings,)."""

    users: Vector
    items: Vector
    values: Vector


@dataclass(frozen=True, kw_only=True)
class Factorization:
    """A trained matrix factorization.

    Attributes:
        users: the users.
        items: the items.
        mean: the mean rating of explicit feedback; 0 for implicit feedback.
        is_implicit: the feedback is implicit.
        label: the name of the column of the ratings.
        training_info: see `model.Model`.
        feature_info: see `model.Model`.
        kept: the metrics of the evaluation rows; None during the training.
    """

    users: Side
    items: Side
    mean: float
    is_implicit: bool
    label: str
    training_info: pa.Table
    feature_info: pa.Table
    kept: pa.Table | None = None
    model_type: str = "MATRIX_FACTORIZATION"

    def recommend(self, rows: pa.Table | None) -> pa.Table:
        """Return the result of ML.RECOMMEND; see `model.Recommending`."""
        users = find_column(rows, self.users.column) if rows is not None else None
        items = find_column(rows, self.items.column) if rows is not None else None
        predicted = f"predicted_{self.label}_confidence" if self.is_implicit else f"predicted_{self.label}"
        if rows is not None and users is not None and items is not None:
            ratings = self.ratings(self.users.numbers(rows[users]), self.items.numbers(rows[items]))
            first = {predicted: pa.array(ratings), users: rows[users], items: rows[items]}
            rest = {name: rows[name] for name in rows.column_names if name not in first}
            if len(first) + len(rest) != rows.num_columns + 1:
                raise invalid_query(f"ML.RECOMMEND: the input has a column {predicted!r}, the name of a result column")
            return pa.table({**first, **rest})
        if rows is not None and (rows.num_columns != 1 or (users is None and items is None)):
            raise invalid_query(
                f"ML.RECOMMEND needs an input with the columns {self.users.column!r} and {self.items.column!r}, or "
                f"with one of them and no other; it has {', '.join(rows.column_names)}"
            )
        user_ids = self.users.ids if rows is None or users is None else rows[users].combine_chunks()
        item_ids = self.items.ids if rows is None or items is None else rows[items].combine_chunks()
        user_numbers, item_numbers = self.users.numbers(user_ids), self.items.numbers(item_ids)
        return pa.table(
            {
                predicted: self._all_ratings(user_numbers, item_numbers).ravel(),
                users or self.users.column: user_ids.take(np.repeat(np.arange(len(user_ids)), len(item_ids))),
                items or self.items.column: item_ids.take(np.tile(np.arange(len(item_ids)), len(user_ids))),
            }
        )

    def evaluate(self, rows: pa.Table | None, threshold: float | None = None) -> pa.Table:
        """Return the metrics for ratings, or for the evaluation rows.

        A ranking is that of all items for a user who has a rating and was in the training rows.
        """
        refuse_threshold(threshold, self.model_type)
        if rows is None:
            return self.kept
        ratings = self.read(rows)
        if not self.is_implicit:
            return metrics_table(regression_metrics(ratings.values, self.ratings(ratings.users, ratings.items)))
        known = (ratings.users < self.shape[0]) & (ratings.items < self.shape[1])
        ratings = Ratings(ratings.users[known], ratings.items[known], ratings.values[known])
        matrix = _matrix(ratings, self.shape, ratings.values)
        users = np.unique(ratings.users)
        if not len(users):
            raise invalid_query(
                "There are no rows to evaluate: no row with a rating above 0 has a user and an item that training saw"
            )
        every = np.arange(self.shape[1])
        parts = ((matrix[part].toarray(), self._all_ratings(part, every)) for part in _parts(users, self.shape[1]))
        return metrics_table(ranking_metrics(parts))

    def rest_metrics(self) -> dict[str, Any]:
        """See `model.Model`."""
        if self.is_implicit:
            return {"rankingMetrics": rest_fields(self.evaluate(None), RANKING_FIELDS)}
        return {"regressionMetrics": rest_fields(self.evaluate(None), REGRESSION_FIELDS)}

    def weights(self, *, standardize: bool) -> pa.Table:
        """Return the factors and the intercept of each user and item, and the mean rating."""
        if standardize:
            raise invalid_query("ML.WEIGHTS: standardize does not apply to models of type MATRIX_FACTORIZATION")
        rows: list[dict[str, Any]] = []
        for side in (self.users, self.items):
            names = side.ids.cast(pa.string()).to_pylist()
            for name, factors, intercept in zip(names, side.factors.tolist(), side.intercepts, strict=True):
                weights = [{"factor": factor, "weight": weight} for factor, weight in enumerate(factors, start=1)]
                row = {"processed_input": side.column, "feature": name, "factor_weights": weights}
                rows.append({**row, "intercept": intercept})
        rows.append({"processed_input": _GLOBAL, "feature": _GLOBAL, "factor_weights": [], "intercept": self.mean})
        return pa.Table.from_pylist(rows, schema=_WEIGHTS)

    @property
    def shape(self) -> tuple[int, int]:
        """The number of users and the number of items."""
        return len(self.users.ids), len(self.items.ids)

    def known(self, rows: pa.Table) -> pa.Table:
        """Return the rows whose user and item training has seen."""
        masks = [side.numbers(rows[side.column]) < len(side.ids) for side in (self.users, self.items)]
        return rows.filter(pa.array(masks[0] & masks[1]))

    def read(self, rows: pa.Table) -> Ratings:
        """Return the ratings in some rows; with implicit feedback, those above 0.

        Raises:
            BigQueryError: `invalidQuery` if a column is missing, has another type than in training, or is NULL.
        """
        ids = []
        for side in (self.users, self.items):
            column = find_column(rows, side.column)
            if column is None:
                raise invalid_query(
                    f"The column {side.column!r} is missing in the input, which has {', '.join(rows.column_names)}"
                )
            ids.append(side.numbers(rows[column]))
        values = label_numbers(rows, self.label)
        if not self.is_implicit:
            return Ratings(ids[0], ids[1], values)
        if values.min() < 0:
            raise invalid_query(f"The column {self.label!r} has numbers below 0, which implicit feedback cannot have")
        is_positive = values > 0
        return Ratings(ids[0][is_positive], ids[1][is_positive], values[is_positive])

    def ratings(self, users: Vector, items: Vector) -> Vector:
        """Return the predicted ratings of pairs, by the numbers of users and items; all (pairs,)."""
        by_user, by_item = self.users.extended(), self.items.extended()
        products = np.einsum("ij,ij->i", by_user.factors[users], by_item.factors[items])
        return np.asarray(self.mean + by_user.intercepts[users] + by_item.intercepts[items] + products)

    def _all_ratings(self, users: Vector, items: Vector) -> Vector:
        """Return the predicted ratings of all pairs of some users and items, (users, items)."""
        by_user, by_item = self.users.extended(), self.items.extended()
        intercepts = by_user.intercepts[users][:, np.newaxis] + by_item.intercepts[items]
        return np.asarray(self.mean + intercepts + by_user.factors[users] @ by_item.factors[items].T)


def train_factorization(rows: pa.Table, options: Mapping[str, Any]) -> Factorization:
    """Find the factors; see `model.ModelType`."""
    is_implicit = options["feedback_type"] == "IMPLICIT"
    if options["wals_alpha"] is not None and not is_implicit:
        raise invalid_query("Option 'wals_alpha' goes with feedback_type 'IMPLICIT', not 'EXPLICIT'")
    data = _prepare(rows, options)
    user_column, item_column = (str(find_column(rows, options[name])) for name in ("user_col", "item_col"))
    model = Factorization(
        users=Side.of(user_column, data.training[user_column]),
        items=Side.of(item_column, data.training[item_column]),
        mean=0.0 if is_implicit else float(label_numbers(data.training, data.label).mean()),
        is_implicit=is_implicit,
        label=data.label,
        training_info=pa.table({}),
        feature_info=describe(rows, [user_column, item_column]),
    )
    model = _alternate(model, data, options)
    held_out = model.known(data.evaluation)
    return replace(model, kept=model.evaluate(held_out if held_out.num_rows else data.training))


def _prepare(rows: pa.Table, options: Mapping[str, Any]) -> TrainingData:
    """Check the columns of the training query, and split its rows."""
    named = [options[name] for name in ("user_col", "item_col", "rating_col")]
    columns = [find_column(rows, name) for name in named]
    for name, column in zip(named, columns, strict=True):
        if column is None:
            raise invalid_query(
                f"The training query has no column {name!r}; name its columns in user_col, item_col and rating_col. "
                f"It returns {', '.join(rows.column_names)}"
            )
    if len(set(columns)) < len(columns):
        raise invalid_query("The options user_col, item_col and rating_col must name three columns")
    data = prepare(rows, {**options, "input_label_cols": options["rating_col"]})
    superfluous = [name for name in data.features if name not in columns]
    if superfluous:
        raise invalid_query(
            f"The training query has the column {superfluous[0]!r}; a matrix factorization takes only the columns of "
            "user_col, item_col, rating_col and data_split_col"
        )
    return data


def _alternate(model: Factorization, data: TrainingData, options: Mapping[str, Any]) -> Factorization:
    """Solve for the users' factors and for the items' in turn, until there is too little progress."""
    ratings = model.read(data.training)
    held_out = model.known(data.evaluation)
    evaluated = model.read(held_out) if held_out.num_rows else None
    count = options["num_factors"] or min(max(_MIN_FACTORS, round(log2(data.training.num_rows))), _MAX_FACTORS)
    alpha = _WALS_ALPHA if options["wals_alpha"] is None else options["wals_alpha"]
    if model.is_implicit:
        weights = _matrix(ratings, model.shape, alpha * ratings.values)
        targets = weights.copy()
        targets.data += 1.0
    else:
        weights = _matrix(ratings, model.shape, np.ones(len(ratings.values)))
        targets = _matrix(ratings, model.shape, ratings.values - model.mean)
    first = np.random.default_rng(_SEED).normal(scale=_SCALE, size=(model.shape[1], count))
    model = replace(model, items=replace(model.items, factors=first))
    losses: list[float] = []
    eval_losses: list[float] = []
    durations: list[int] = []
    for _ in range(options["max_iterations"]):
        started = perf_counter()
        model = replace(model, users=_solved(model.users, model.items, weights, targets, options))
        model = replace(model, items=_solved(model.items, model.users, weights.T.tocsr(), targets.T.tocsr(), options))
        losses.append(_loss(model, ratings, alpha))
        if evaluated is not None:
            eval_losses.append(_loss(model, evaluated, alpha))
        durations.append(round(1000 * (perf_counter() - started)))
        has_stalled = len(losses) > 1 and losses[-2] - losses[-1] < options["min_rel_progress"] * losses[-2]
        if has_stalled and options["early_stop"]:
            break
    info = iterations(loss=losses, eval_loss=eval_losses or None, duration_ms=durations)
    return replace(model, training_info=info)


def _solved(
    side: Side, other: Side, weights: sparse.csr_array, targets: sparse.csr_array, options: Mapping[str, Any]
) -> Side:
    """Return one side with the factors that minimise the loss, for the factors of the other side.

    Args:
        side: the side to solve for.
        other: the other side, with factors.
        weights: the weight of each known rating, without that of every pair of implicit feedback, (ids, other ids).
        targets: the sum of each known rating's weight times its value, (ids, other ids).
        options: the options of CREATE MODEL.
    """
    is_implicit = options["feedback_type"] == "IMPLICIT"
    # With explicit feedback, the last factor is the intercept.
    others = other.factors if is_implicit else np.column_stack([other.factors, np.ones(len(other.ids))])
    width = others.shape[1]
    everywhere = others.T @ others if is_implicit else np.zeros((width, width))
    everywhere += max(options["l2_reg"], _MIN_L2) * np.eye(width)
    right = targets @ others - weights @ (other.intercepts[:, np.newaxis] * others)
    solutions = np.empty((len(side.ids), width))
    for part in _parts(np.arange(len(side.ids)), width**2):
        grams = np.zeros((len(part), width**2))
        for columns in _parts(np.arange(len(other.ids)), width**2):
            chosen = others[columns]
            products = (chosen[:, :, np.newaxis] * chosen[:, np.newaxis, :]).reshape(len(columns), -1)
            grams += weights[part][:, columns] @ products
        left = grams.reshape(-1, width, width) + everywhere
        solutions[part] = np.linalg.solve(left, right[part][:, :, np.newaxis])[:, :, 0]
    if is_implicit:
        return replace(side, factors=solutions)
    return replace(side, factors=solutions[:, :-1], intercepts=solutions[:, -1])


def _loss(model: Factorization, ratings: Ratings, alpha: float) -> float:
    """Return the mean squared error of explicit ratings, or the weighted one over all pairs with implicit feedback."""
    if not model.is_implicit:
        return float(np.mean((ratings.values - model.ratings(ratings.users, ratings.items)) ** 2))
    weights = _matrix(ratings, model.shape, alpha * ratings.values).tocoo()
    predicted = model.ratings(weights.row, weights.col)
    of_known = float(((1.0 + weights.data) * (1.0 - predicted) ** 2 - predicted**2).sum())
    users, items = (side.factors.T @ side.factors for side in (model.users, model.items))
    return (of_known + float((users * items).sum())) / (model.shape[0] * model.shape[1])


def _matrix(ratings: Ratings, shape: tuple[int, int], values: Vector) -> sparse.csr_array:
    """Return a sparse matrix of values by user and item; values of the same pair are added."""
    return sparse.csr_array((values, (ratings.users, ratings.items)), shape=shape)


def _parts(numbers: Vector, width: int) -> Iterator[Vector]:
    """Yield numbers in parts, so that `width` numbers for each fit into memory."""
    size = max(1, _MAX_NUMBERS // width)
    for start in range(0, len(numbers), size):
        yield numbers[start : start + size]


MATRIX_FACTORIZATION = ModelType(
    "MATRIX_FACTORIZATION", "MATRIX_FACTORIZATION", _OPTIONS, train_factorization, takes_transform=False
)
