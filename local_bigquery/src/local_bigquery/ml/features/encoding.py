"""Encodes columns as a matrix of numbers, like BigQuery ML's automatic preprocessing.

First, columns are expanded into features: a STRUCT into its fields, a TIMESTAMP into its components. Then each feature
is encoded according to its type. NULL counts as the mean of a numeric feature, and as a category of its own of any
other. A category that training has not seen adds nothing to a prediction.
https://cloud.google.com/bigquery/docs/auto-preprocessing
https://cloud.google.com/bigquery/docs/input-feature-types
"""

import base64
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, Self

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from scipy import sparse

from local_bigquery.errors import invalid_query
from local_bigquery.ml.features.training_data import find_column

# A numpy array or a scipy sparse array of float64, (rows, encoded columns). scikit-learn takes both.
Matrix = Any
Numbers = np.ndarray[Any, np.dtype[np.float64]]

ONE_HOT = "ONE_HOT_ENCODING"
DUMMY = "DUMMY_ENCODING"
LABEL = "LABEL_ENCODING"
TARGET = "TARGET_ENCODING"

NULL_CATEGORY = "_null_filler"  # BigQuery ML's name for the category of NULL


class Encoding(Protocol):
    """The encoding of one feature."""

    @property
    def width(self) -> int:
        """The number of columns in the matrix."""

    def encode(self, name: str, column: pa.ChunkedArray) -> Matrix:
        """Return the matrix of the feature, (rows, width); `name` is its name for messages."""


@dataclass(frozen=True)
class NumericEncoding:
    """Standardised numbers, or the numbers themselves if `standardize` is False; NULL counts as the mean.

    `mean` and `deviation` (of the population) are those of the training rows.
    """

    mean: float
    deviation: float
    standardize: bool = True
    width: int = 1

    @property
    def offset(self) -> float:
        """The number that is subtracted."""
        return self.mean if self.standardize else 0.0

    @property
    def scale(self) -> float:
        """The number that the difference is divided by."""
        return (self.deviation or 1.0) if self.standardize else 1.0

    def encode(self, name: str, column: pa.ChunkedArray) -> Matrix:
        """Return the numbers, (rows, 1)."""
        values = _numbers(name, column, null_as=self.mean)
        return ((values - self.offset) / self.scale)[:, np.newaxis]


@dataclass(frozen=True)
class OneHotEncoding:
    """A 1 in the column of the category; the last column is for NULL if `has_null`.

    `dropped` is the position of a category whose column stays 0 (dummy encoding). Without `has_null`, NULL counts as an
    unknown category.
    """

    categories: pa.Array
    has_null: bool
    dropped: int | None = None

    @property
    def width(self) -> int:
        """One column for each category, and one for NULL if `has_null`."""
        return len(self.categories) + self.has_null

    def encode(self, name: str, column: pa.ChunkedArray) -> Matrix:
        """Return ones and zeros, (rows, width), sparse."""
        codes = _codes(name, column, self.categories)
        if self.dropped is not None:
            codes = _without(codes, self.dropped)
        if not self.has_null:
            codes = _without(codes, len(self.categories))
        return _ones(np.flatnonzero(codes.is_valid()), codes.drop_null().to_numpy(), (len(column), self.width))


@dataclass(frozen=True)
class LabelEncoding:
    """The position of the category from 1 on; 0 for NULL and for a category that training has not seen."""

    categories: pa.Array
    width: int = 1

    def encode(self, name: str, column: pa.ChunkedArray) -> Matrix:
        """Return the positions, (rows, 1)."""
        codes = pc.fill_null(_codes(name, column, self.categories), -1).to_numpy().astype(np.float64)
        codes[codes == len(self.categories)] = -1.0
        return codes[:, np.newaxis] + 1.0


@dataclass(frozen=True)
class TargetEncoding:
    """The mean of the target over the training rows of the category; over all rows for an unknown category.

    `means` has the means of the categories, of NULL and of all rows, (categories + 2, targets).
    """

    categories: pa.Array
    means: Numbers

    @property
    def width(self) -> int:
        """One column for each target."""
        return int(self.means.shape[1])

    def encode(self, name: str, column: pa.ChunkedArray) -> Matrix:
        """Return the means, (rows, width)."""
        return self.means[pc.fill_null(_codes(name, column, self.categories), len(self.means) - 1).to_numpy()]


@dataclass(frozen=True)
class MultiHotEncoding:
    """A 1 in the column of each element of an ARRAY of categories. The emulator refuses NULL elements."""

    categories: pa.Array

    @property
    def width(self) -> int:
        """One column for each category."""
        return len(self.categories)

    def encode(self, name: str, column: pa.ChunkedArray) -> Matrix:
        """Return ones and zeros, (rows, width), sparse."""
        rows, elements = _elements(name, column)
        codes = _codes(name, elements, self.categories)
        known = np.asarray(codes.is_valid())
        matrix = _ones(rows[known], codes.drop_null().to_numpy(), (len(column), self.width))
        matrix.data[:] = 1.0  # repeated elements count once
        return matrix


@dataclass(frozen=True)
class VectorEncoding:
    """The elements of an ARRAY of numbers, unchanged. All arrays have the same length."""

    width: int

    def encode(self, name: str, column: pa.ChunkedArray) -> Matrix:
        """Return the numbers, (rows, width)."""
        rows, elements = _elements(name, column)
        lengths = np.bincount(rows, minlength=len(column))
        if (lengths != self.width).any():
            wrong = lengths[lengths != self.width][0]
            raise invalid_query(
                f"Feature column {name!r} has arrays of {wrong} and of {self.width} elements; a vector has one length"
            )
        return _numbers(name, elements, null_as=0.0).reshape(len(column), self.width)


@dataclass(frozen=True)
class SparseVectorEncoding:
    """The numbers of an ARRAY of STRUCT(position from 0 on, number), unchanged, at their positions.

    Positions beyond those of the training rows are ignored.
    """

    width: int

    def encode(self, name: str, column: pa.ChunkedArray) -> Matrix:
        """Return the numbers, (rows, width), sparse."""
        rows, positions, numbers = _entries(name, column)
        known = positions < self.width
        return sparse.csr_array(
            (numbers[known], (rows[known].astype(np.int32), positions[known].astype(np.int32))),
            shape=(len(column), self.width),
        )


@dataclass(frozen=True)
class Feature:
    """An input of a model after expansion.

    Attributes:
        name: BigQuery ML's name for it: `column`, `column_field` or a name such as `_TS_DOW_column`.
        column: its column.
        field: its field of a STRUCT, or None.
        component: its component of a TIMESTAMP, a key of `TIMESTAMP_COMPONENTS`, or None.
        encoding: its encoding.
    """

    name: str
    column: str
    field: str | None
    component: str | None
    encoding: Encoding

    def values(self, rows: pa.Table) -> pa.ChunkedArray:
        """Return the values of this feature before the encoding.

        Raises:
            BigQueryError: `invalidQuery` as for `encode`.
        """
        return _values(rows, self.column, self.field, self.component)

    def encode(self, rows: pa.Table) -> Matrix:
        """Return the matrix of this feature, (rows, width).

        Raises:
            BigQueryError: `invalidQuery` if the column is missing or has another type than in training.
        """
        return self.encoding.encode(self.name, self.values(rows))


@dataclass(frozen=True)
class FeatureEncoder:
    """Encodes the feature columns of a table."""

    features: tuple[Feature, ...]

    @classmethod
    def fit(
        cls,
        rows: pa.Table,
        names: Sequence[str],
        *,
        standardize: bool = True,
        categories: str = ONE_HOT,
        target: Numbers | None = None,
    ) -> Self:
        """Learn means, deviations and categories from the training rows.

        Args:
            rows: the training rows.
            names: the feature columns.
            standardize: whether numbers are standardised.
            categories: the encoding of categories: `ONE_HOT`, `DUMMY`, `LABEL` or `TARGET`.
            target: the numbers whose means `TARGET` uses, (rows, targets).

        Raises:
            BigQueryError: `invalidQuery` if the type of a column cannot be a feature.
        """
        features = []
        for name, column, field, component in _expanded(rows, names):
            values = _values(rows, column, field, component)
            if component:  # a number that stands for a category, such as the day of the week
                encoding = _fit_categories(name, values, categories, target)
            else:
                encoding = _fit(name, values, categories, target, standardize=standardize)
            features.append(Feature(name, column, field, component, encoding))
        return cls(tuple(features))

    def encode(self, rows: pa.Table) -> Matrix:
        """Return the matrix of a table that has the feature columns; their order and other columns do not matter.

        Raises:
            BigQueryError: `invalidQuery` if a column is missing or has another type than in training.
        """
        blocks = [feature.encode(rows) for feature in self.features]
        if any(sparse.issparse(block) for block in blocks):
            return sparse.hstack(blocks, format="csr")
        return np.hstack(blocks)

    def spans(self) -> Iterator[tuple[Feature, slice]]:
        """Yield every feature with its columns in the matrix."""
        start = 0
        for feature in self.features:
            yield feature, slice(start, start + feature.encoding.width)
            start += feature.encoding.width


def is_numeric(column_type: pa.DataType) -> bool:
    """Return True if BigQuery ML treats a column of this Arrow type as numbers."""
    return bool(
        pa.types.is_integer(column_type) or pa.types.is_floating(column_type) or pa.types.is_decimal(column_type)
    )


def as_float64(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Return numbers as FLOAT64. Whole numbers beyond 2^53 are rounded, which Arrow refuses by default."""
    return column.cast(pa.float64(), safe=False)


def dense(matrix: Matrix) -> Numbers:
    """Return a matrix as a numpy array."""
    return np.asarray(matrix.toarray() if sparse.issparse(matrix) else matrix)


def struct_lists(width: int, **fields: pa.Array) -> pa.ListArray:
    """Return lists of `width` STRUCTs each. Each field has its values for all lists, one after the other."""
    entries = pa.StructArray.from_arrays(list(fields.values()), names=list(fields))
    return pa.ListArray.from_arrays(pa.array(np.arange(0, len(entries) + 1, width, dtype=np.int32)), entries)


def category_names(encoding: Encoding) -> Iterator[tuple[int, str]]:
    """Yield position and BigQuery ML's name of every column that encodes a feature which is not a number.

    The name is the category, or the position in an array of numbers.
    """
    if isinstance(encoding, OneHotEncoding | MultiHotEncoding):
        null = [NULL_CATEGORY] if isinstance(encoding, OneHotEncoding) and encoding.has_null else []
        yield from enumerate([*_category_texts(encoding.categories), *null])
    else:
        yield from ((position, str(position)) for position in range(encoding.width))


def _category_texts(categories: pa.Array) -> list[str]:
    if pa.types.is_binary(categories.type):  # BigQuery writes BYTES as base64
        return [base64.b64encode(value).decode() for value in categories.to_pylist()]
    texts: list[str] = categories.cast(pa.string()).to_pylist()
    return texts


# The components of a TIMESTAMP by the prefix of the feature's name. The first is a number, the others are categories.
# https://cloud.google.com/bigquery/docs/auto-preprocessing#timestamp-transform
TIMESTAMP_COMPONENTS: dict[str, Callable[[pa.ChunkedArray], pa.ChunkedArray]] = {
    "": lambda column: pc.floor(pc.divide(as_float64(column.cast(pa.timestamp("us", "UTC")).cast(pa.int64())), 1e6)),
    "_TS_DOM_": pc.day,
    "_TS_DOW_": lambda column: pc.day_of_week(column, count_from_zero=False, week_start=7),
    "_TS_MOY_": pc.month,
    "_TS_HOD_": pc.hour,
    "_TS_MOH_": pc.minute,
    "_TS_WOY_": lambda column: pc.week(
        column, week_starts_monday=False, count_from_zero=True, first_week_is_fully_in_year=True
    ),
    "_TS_YEAR_": pc.year,
}


def _expanded(rows: pa.Table, names: Sequence[str]) -> Iterator[tuple[str, str, str | None, str | None]]:
    """Yield name, column, field and component of every feature."""
    for column in names:
        column_type = rows.schema.field(column).type
        fields: list[tuple[str, str | None, pa.DataType]] = [(column, None, column_type)]
        if pa.types.is_struct(column_type):
            _check_struct(column, column_type)
            fields = [(f"{column}_{field.name}", field.name, field.type) for field in column_type]
        for name, field_name, field_type in fields:
            if _is_instant(field_type):
                for prefix in TIMESTAMP_COMPONENTS:
                    yield f"{prefix}{name}", column, field_name, prefix
            else:
                yield name, column, field_name, None


def _check_struct(column: str, column_type: pa.DataType) -> None:
    for field in column_type:
        if not field.name:
            raise invalid_query(f"Feature column {column!r} is a STRUCT with a field that has no name")
        if pa.types.is_struct(field.type):
            raise invalid_query(
                f"Feature column {column!r} has a STRUCT in a STRUCT ({field.name}): nested STRUCTs are not supported "
                "as features"
            )


def _values(rows: pa.Table, column: str, field: str | None, component: str | None) -> pa.ChunkedArray:
    name = find_column(rows, column)
    if name is None:
        raise invalid_query(
            f"Feature column {column!r} of the model is missing in the input, which has {', '.join(rows.column_names)}"
        )
    values = rows[name]
    if field is not None:
        names = [f.name for f in values.type] if pa.types.is_struct(values.type) else []
        if field not in names:
            raise invalid_query(f"Feature column {column!r} is {values.type}, but had a field {field!r} in training")
        values = pc.struct_field(values, field)
    if component is not None:
        if not _is_instant(values.type):
            raise invalid_query(f"Feature column {column!r} is {values.type}, but was a TIMESTAMP in training")
        values = TIMESTAMP_COMPONENTS[component](values)
    return values


def _fit(name: str, column: pa.ChunkedArray, categories: str, target: Numbers | None, *, standardize: bool) -> Encoding:
    column_type = column.type
    if is_numeric(column_type):
        present = _numbers(name, column.drop_null(), null_as=0.0)
        with np.errstate(over="ignore", invalid="ignore"):  # the results are checked below
            mean = float(present.mean()) if len(present) else 0.0
            deviation = float(_numbers(name, column, null_as=mean if np.isfinite(mean) else 0.0).std())
        if not (np.isfinite(mean) and np.isfinite(deviation)):
            raise invalid_query(f"Feature column {name!r} has numbers that are too large to compute with")
        return NumericEncoding(mean, deviation, standardize)
    if pa.types.is_list(column_type):
        return _fit_array(name, column)
    if not _is_categorical(column_type):
        raise _not_a_feature(name, column_type)
    return _fit_categories(name, column, categories, target)


def _fit_categories(name: str, column: pa.ChunkedArray, categories: str, target: Numbers | None) -> Encoding:
    found = _categories(column)
    if categories == LABEL:
        return LabelEncoding(found)
    if categories == TARGET:
        if target is None:
            raise TypeError("target encoding without a target")
        return TargetEncoding(found, _means(_codes(name, column, found).to_numpy(), len(found) + 1, target))
    dropped = _most_frequent(name, column, found) if categories == DUMMY else None
    return OneHotEncoding(found, column.null_count > 0, dropped)


def _fit_array(name: str, column: pa.ChunkedArray) -> Encoding:
    element_type = column.type.value_type
    if is_numeric(element_type):
        rows, _ = _elements(name, column)
        return VectorEncoding(int(np.bincount(rows, minlength=1)[0]))
    if _is_categorical(element_type):
        _, elements = _elements(name, column)
        return MultiHotEncoding(_categories(elements))
    if _is_sparse_entry(element_type):
        _, positions, _ = _entries(name, column)
        return SparseVectorEncoding(int(positions.max(initial=-1)) + 1)
    raise _not_a_feature(name, column.type)


def _categories(column: pa.ChunkedArray) -> pa.Array:
    """Return the distinct values without NULL in ascending order."""
    values = pc.unique(column).drop_null()
    return values.take(pc.sort_indices(values))


def _means(codes: Any, count: int, target: Numbers) -> Numbers:
    """Return the means of the target by code, and over all rows in the last row, (count + 1, targets)."""
    sizes = np.bincount(codes, minlength=count)[:, np.newaxis]
    sums = np.column_stack([np.bincount(codes, values, minlength=count) for values in target.T])
    overall = target.mean(axis=0)
    return np.vstack([np.where(sizes > 0, sums / np.maximum(sizes, 1), overall), overall])


def _most_frequent(name: str, column: pa.ChunkedArray, categories: pa.Array) -> int:
    return int(np.bincount(_codes(name, column, categories).to_numpy()).argmax())


def _codes(name: str, column: pa.ChunkedArray, categories: pa.Array) -> pa.Array:
    """Return the position of each value in `categories`: `len(categories)` for NULL, NULL for an unknown value."""
    try:
        column = column.cast(categories.type)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        raise invalid_query(
            f"Feature column {name!r} is {column.type}, but was {categories.type} in training"
        ) from error
    codes = pc.index_in(column, value_set=categories)
    return pc.if_else(pc.is_null(column), pa.scalar(len(categories), codes.type), codes)


def _without(codes: pa.Array, code: int) -> pa.Array:
    """Return the codes with NULL in place of one of them."""
    return pc.if_else(pc.equal(codes, code), pa.scalar(None, codes.type), codes)


def _elements(name: str, column: pa.ChunkedArray) -> tuple[np.ndarray[Any, np.dtype[np.int64]], pa.ChunkedArray]:
    """Return the row number of each element of the arrays, and the elements."""
    if not pa.types.is_list(column.type):
        raise invalid_query(f"Feature column {name!r} is {column.type}, but was an array in training")
    return pc.list_parent_indices(column).to_numpy(), pc.list_flatten(column)


def _entries(
    name: str, column: pa.ChunkedArray
) -> tuple[np.ndarray[Any, np.dtype[np.int64]], np.ndarray[Any, np.dtype[np.int64]], Numbers]:
    """Return the row, the position and the number of every entry of sparse vectors."""
    rows, entries = _elements(name, column)
    if not _is_sparse_entry(entries.type):
        raise invalid_query(f"Feature column {name!r} is {column.type}, but was a sparse vector in training")
    positions, numbers = pc.struct_field(entries, [0]), pc.struct_field(entries, [1])
    if positions.null_count or numbers.null_count or (pc.min(positions).as_py() or 0) < 0:
        raise invalid_query(f"Feature column {name!r} has sparse entries with NULL, or with a position below 0")
    return rows, positions.cast(pa.int64()).to_numpy(), _numbers(name, numbers, null_as=0.0)


def _ones(rows: Any, columns: Any, shape: tuple[int, int]) -> Any:
    # scikit-learn accepts only indices of 32 bits.
    indices = (rows.astype(np.int32), columns.astype(np.int32))
    return sparse.csr_array((np.ones(len(columns)), indices), shape=shape)


def _is_instant(column_type: pa.DataType) -> bool:
    return bool(pa.types.is_timestamp(column_type) and column_type.tz is not None)


def _is_categorical(column_type: pa.DataType) -> bool:
    is_civil_time = pa.types.is_timestamp(column_type) and column_type.tz is None
    return is_civil_time or any(
        is_type(column_type)
        for is_type in (
            pa.types.is_string,
            pa.types.is_boolean,
            pa.types.is_binary,
            pa.types.is_date,
            pa.types.is_time,
        )
    )


def _is_sparse_entry(element_type: pa.DataType) -> bool:
    if not pa.types.is_struct(element_type) or element_type.num_fields != 2:  # noqa: PLR2004  position and number
        return False
    return pa.types.is_integer(element_type.field(0).type) and is_numeric(element_type.field(1).type)


def _numbers(name: str, column: pa.ChunkedArray, *, null_as: float) -> Numbers:
    if not is_numeric(column.type):
        raise invalid_query(f"Feature column {name!r} is {column.type}, but was a number in training")
    values: Numbers = pc.fill_null(as_float64(column), null_as).to_numpy()
    if not np.isfinite(values).all():
        raise invalid_query(f"Feature column {name!r} contains NaN or infinity")
    return values


def _not_a_feature(name: str, column_type: pa.DataType) -> Exception:
    return invalid_query(
        f"Feature column {name!r} is of type {column_type}, which cannot be a feature: convert it to a number, a "
        "string, or an array of them in the query"
    )
