"""Turns columns into a matrix of numbers as BigQuery ML's automatic preprocessing does.

Numbers are standardised, NULL becoming the mean. Other simple types are one-hot encoded, NULL being a category of its
own; a category not seen in training adds nothing to a prediction.
https://cloud.google.com/bigquery/docs/auto-preprocessing
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from scipy import sparse

from local_stack.bigquery.errors import invalid_query
from local_stack.bigquery.models.training_data import find_column

Matrix = Any  # numpy array or scipy sparse array of float64, (rows, encoded columns); scikit-learn takes either


@dataclass(frozen=True)
class NumericFeature:
    """A column of numbers, standardised to mean 0 and standard deviation 1 over the training rows."""

    name: str
    mean: float
    scale: float

    @property
    def width(self) -> int:
        """How many columns the feature takes in the matrix."""
        return 1

    def encode(self, column: pa.ChunkedArray) -> Matrix:
        """Return the standardised numbers, (rows, 1)."""
        values = _numbers(self.name, column, null_as=self.mean)
        return ((values - self.mean) / self.scale)[:, np.newaxis]


@dataclass(frozen=True)
class CategoricalFeature:
    """A column of categories, one-hot encoded; the last column is for NULL."""

    name: str
    categories: pa.Array

    @property
    def width(self) -> int:
        """How many columns the feature takes in the matrix."""
        return len(self.categories) + 1

    def encode(self, column: pa.ChunkedArray) -> Matrix:
        """Return the one-hot encoded categories, (rows, width), sparse."""
        try:
            column = column.cast(self.categories.type)
        except pa.ArrowInvalid as error:
            raise invalid_query(
                f"Feature column {self.name!r} is {column.type}, but was {self.categories.type} in training"
            ) from error
        codes = pc.index_in(column, value_set=self.categories)
        codes = pc.if_else(pc.is_null(column), pa.scalar(len(self.categories), codes.type), codes)
        columns = codes.drop_null().to_numpy()
        rows = np.flatnonzero(codes.is_valid()).astype(columns.dtype)  # 32 bits: scikit-learn takes no wider index
        return sparse.csr_array((np.ones(len(rows)), (rows, columns)), shape=(len(column), self.width))


@dataclass(frozen=True)
class FeatureEncoder:
    """Encodes the feature columns of a table."""

    features: tuple[NumericFeature | CategoricalFeature, ...]

    @classmethod
    def fit(cls, rows: pa.Table, names: Sequence[str]) -> FeatureEncoder:
        """Learn means, deviations and categories from the training rows.

        Raises:
            BigQueryError: `invalidQuery`, naming the column, if its type cannot be a feature.
        """
        return cls(tuple(_fit(name, rows[name]) for name in names))

    def encode(self, rows: pa.Table) -> Matrix:
        """Return the matrix for a table that has the feature columns, in any order and among others.

        Raises:
            BigQueryError: `invalidQuery`, naming the column, if one is missing or of another type.
        """
        blocks = []
        for feature in self.features:
            column = find_column(rows, feature.name)
            if column is None:
                raise invalid_query(
                    f"Feature column {feature.name!r} of the model is missing in the input, "
                    f"which has {', '.join(rows.column_names)}"
                )
            blocks.append(feature.encode(rows[column]))
        if any(sparse.issparse(block) for block in blocks):
            return sparse.hstack(blocks, format="csr")
        return np.hstack(blocks)


def is_numeric(column_type: pa.DataType) -> bool:
    """Whether BigQuery ML treats a column of this type as numbers."""
    return bool(
        pa.types.is_integer(column_type) or pa.types.is_floating(column_type) or pa.types.is_decimal(column_type)
    )


def _fit(name: str, column: pa.ChunkedArray) -> NumericFeature | CategoricalFeature:
    if is_numeric(column.type):
        present = _numbers(name, column.drop_null(), null_as=0.0)
        mean = float(present.mean()) if len(present) else 0.0
        deviation = float(_numbers(name, column, null_as=mean).std())
        return NumericFeature(name, mean, deviation or 1.0)
    if not _is_categorical(column.type):
        raise invalid_query(
            f"Feature column {name!r} is of type {column.type}, which the local BigQuery ML does not support as a "
            "feature: convert it to a number or a string in the query"
        )
    categories = pc.unique(column).drop_null()
    return CategoricalFeature(name, categories.take(pc.sort_indices(categories)))


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


def _numbers(name: str, column: pa.ChunkedArray, *, null_as: float) -> np.ndarray[Any, np.dtype[np.float64]]:
    if not is_numeric(column.type):
        raise invalid_query(f"Feature column {name!r} is {column.type}, but was a number in training")
    values: np.ndarray[Any, np.dtype[np.float64]] = pc.fill_null(column.cast(pa.float64()), null_as).to_numpy()
    if not np.isfinite(values).all():
        raise invalid_query(f"Feature column {name!r} contains NaN or infinity")
    return values
