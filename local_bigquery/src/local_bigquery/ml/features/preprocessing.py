"""The preprocessing functions of the TRANSFORM clause, such as ML.STANDARD_SCALER, on Arrow columns.

Each function checks its constant arguments and the training column, learns its parameters from that column, and returns
a transformer for columns of the same type. Quantiles are existing values, as with APPROX_QUANTILES of BigQuery, but
exact.
https://cloud.google.com/bigquery/docs/manual-preprocessing
"""

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any, Protocol

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from local_bigquery.errors import invalid_query
from local_bigquery.ml.features.encoding import as_float64, is_numeric, struct_lists
from local_bigquery.ml.options import Reader, boolean, one_of, whole_number

Numbers = np.ndarray[Any, np.dtype[np.float64]]

_MAX_CROSSED = 10


class Transformer(Protocol):
    """A preprocessing function with its learned parameters."""

    def apply(self, column: pa.ChunkedArray) -> pa.ChunkedArray | pa.Array:
        """Return the value for every row."""


@dataclass(frozen=True)
class Scaler:
    """`(x - offset) / scale`, clipped to the range from `lowest` to `highest`."""

    function: str
    offset: float
    scale: float
    lowest: float = -math.inf
    highest: float = math.inf

    def apply(self, column: pa.ChunkedArray) -> pa.ChunkedArray:
        """Return FLOAT64, NULL for NULL."""
        scaled = pc.divide(pc.subtract(_numbers(self.function, column), self.offset), self.scale)
        if (self.lowest, self.highest) == (-math.inf, math.inf):
            return scaled
        within = pc.min_element_wise(self.highest, pc.max_element_wise(self.lowest, scaled))
        return pc.if_else(pc.is_null(scaled), pa.scalar(None, pa.float64()), within)


@dataclass(frozen=True)
class Bucketizer:
    """The name of the bucket of a number. `names` has one name more than there are splits."""

    function: str
    splits: tuple[float, ...]
    names: pa.Array

    def apply(self, column: pa.ChunkedArray) -> pa.Array:
        """Return STRING, NULL for NULL."""
        numbers = _numbers(self.function, column)
        buckets = np.searchsorted(np.array(self.splits, dtype=np.float64), numbers.to_numpy(), side="right")
        return self.names.take(pa.array(buckets, mask=np.asarray(pc.is_null(numbers))))


@dataclass(frozen=True)
class Imputer:
    """A replacement of NULL."""

    function: str
    value: pa.Scalar

    def apply(self, column: pa.ChunkedArray) -> pa.ChunkedArray:
        """Return FLOAT64 for numbers, STRING for strings."""
        values = _numbers(self.function, column) if pa.types.is_floating(self.value.type) else column
        return pc.fill_null(values, self.value) if self.value.is_valid else values


@dataclass(frozen=True)
class LabelEncoder:
    """The position of a string in a vocabulary from 1 on; 0 for NULL and for strings not in the vocabulary."""

    function: str
    vocabulary: pa.Array

    def apply(self, column: pa.ChunkedArray) -> pa.ChunkedArray:
        """Return INT64."""
        _check_string(self.function, column.type)
        return pc.add(pc.fill_null(pc.index_in(column, self.vocabulary, skip_nulls=True), -1).cast(pa.int64()), 1)


@dataclass(frozen=True)
class OneHotEncoder:
    """The position of a `LabelEncoder` with the value 1.0, or 0.0 for the position `dropped`."""

    labels: LabelEncoder
    dropped: int | None

    def apply(self, column: pa.ChunkedArray) -> pa.Array:
        """Return ARRAY<STRUCT<index INT64, value FLOAT64>> with one element."""
        index = pa.chunked_array(self.labels.apply(column)).combine_chunks()
        value = np.ones(len(index))
        if self.dropped is not None:
            value[index.to_numpy() == self.dropped] = 0.0
        return struct_lists(1, index=index, value=pa.array(value))


@dataclass(frozen=True)
class FeatureCross:
    """All combinations of 2 to `degree` fields of a STRUCT, their strings joined by `_`."""

    degree: int

    def apply(self, column: pa.ChunkedArray) -> pa.Array:
        """Return a STRUCT with a STRING field `a_b` for the fields a and b, which is NULL if a or b is NULL."""
        _check_crossed(column.type)
        names = [field.name for field in column.type]
        values = {name: pc.struct_field(column, name).combine_chunks() for name in names}
        crossed = {
            "_".join(chosen): pc.binary_join_element_wise(*(values[name] for name in chosen), "_")
            for count in range(2, self.degree + 1)
            for chosen in combinations(names, count)
        }
        return pa.StructArray.from_arrays(list(crossed.values()), names=list(crossed))


@dataclass(frozen=True)
class Function:
    """A preprocessing function.

    Attributes:
        analytic: whether it learns from all rows and is written with OVER().
        learn: returns the transformer for the function's name, the training column and the constant arguments.
        required: the number of constant arguments that it requires.
        optional: the number of further constant arguments that it accepts.
    """

    analytic: bool
    learn: Callable[..., Transformer]
    required: int = 0
    optional: int = 0


def learn(name: str, column: pa.ChunkedArray, arguments: Sequence[Any]) -> Transformer:
    """Return the transformer of a function.

    Args:
        name: the name of the function without `ML.`, a key of `FUNCTIONS`.
        column: the first argument for all training rows.
        arguments: the other arguments, which are constants.

    Raises:
        BigQueryError: `invalidQuery`, naming the function, if an argument is missing, superfluous or invalid.
    """
    function = FUNCTIONS[name]
    if not function.required <= len(arguments) <= function.required + function.optional:
        least, most = 1 + function.required, 1 + function.required + function.optional
        count = f"{least}" if least == most else f"{least} to {most}"
        raise invalid_query(f"ML.{name} takes {count} arguments, not {1 + len(arguments)}")
    return function.learn(f"ML.{name}", column, *arguments)


def _standard_scaler(function: str, column: pa.ChunkedArray) -> Transformer:
    numbers = _present(function, column)
    # Within TRANSFORM, BigQuery's recorded answers divide by n; its example of a SELECT divides by n - 1.
    deviation = float(numbers.std()) if len(numbers) else 0.0
    return Scaler(function, float(numbers.mean()) if len(numbers) else 0.0, deviation or 1.0)


def _min_max_scaler(function: str, column: pa.ChunkedArray) -> Transformer:
    numbers = _present(function, column)
    lowest, highest = (float(numbers[0]), float(numbers[-1])) if len(numbers) else (0.0, 0.0)
    return Scaler(function, lowest, (highest - lowest) or 1.0, lowest=0.0, highest=1.0)


def _max_abs_scaler(function: str, column: pa.ChunkedArray) -> Transformer:
    return Scaler(function, 0.0, float(np.abs(_present(function, column)).max(initial=0.0)) or 1.0)


def _robust_scaler(
    function: str,
    column: pa.ChunkedArray,
    between: Any = (25, 75),
    center: Any = True,  # noqa: FBT002  arguments are positional in SQL
    scale: Any = True,  # noqa: FBT002  as above
) -> Transformer:
    bounds = [_read(function, "quantile_range", whole_number(at_least=1), bound) for bound in _items(between)]
    if len(bounds) != 2 or not bounds[0] < bounds[1] < 100:  # noqa: PLR2004  a lower and an upper percentage
        raise invalid_query(f"{function}: quantile_range must be [lower, upper] with 0 < lower < upper < 100")
    low, median, high = _quantiles(_present(function, column), [bounds[0] / 100, 0.5, bounds[1] / 100])
    offset = median if _read(function, "with_median", boolean, center) else 0.0
    width = (high - low) or 1.0
    return Scaler(function, offset, width if _read(function, "with_quantile_range", boolean, scale) else 1.0)


def _bucketize(
    function: str,
    column: pa.ChunkedArray,
    points: Any,
    exclude: Any = False,  # noqa: FBT002  as above
    output_format: Any = "bucket_names",
) -> Transformer:
    _numbers(function, column)
    splits = list(_items(points))
    if not splits or not all(_is_number(split) and math.isfinite(split) for split in splits):
        raise invalid_query(f"{function}: array_split_points must be an array of finite numbers")
    if sorted(splits) != splits:
        raise invalid_query(f"{function}: array_split_points must be in ascending order")
    if _read(function, "exclude_boundaries", boolean, exclude):
        splits = splits[1:-1]
    return _bucketizer(function, splits, output_format)


def _quantile_bucketize(
    function: str, column: pa.ChunkedArray, count: Any, output_format: Any = "bucket_names"
) -> Transformer:
    count = _read(function, "num_buckets", whole_number(at_least=1), count)
    splits: list[float] = []
    numbers = _present(function, column)
    if len(numbers):
        splits = sorted(set(_quantiles(numbers, [k / count for k in range(1, count)])))
    if pa.types.is_integer(column.type):
        splits = [int(split) for split in splits]
    return _bucketizer(function, splits, output_format)


def _bucketizer(function: str, splits: Sequence[float], output_format: Any) -> Transformer:
    style = _read(
        function, "output_format", one_of("BUCKET_NAMES", "BUCKET_RANGES", "BUCKET_RANGES_JSON"), output_format
    )
    bounds = [str(split) for split in splits]
    match style:
        case "BUCKET_NAMES":
            names = [f"bin_{number}" for number in range(1, len(splits) + 2)]
        case "BUCKET_RANGES":
            starts, ends = ["(-inf", *(f"[{bound}" for bound in bounds)], [*bounds, "+inf"]
            names = [f"{start}, {end})" for start, end in zip(starts, ends, strict=True)]
        case _:
            pairs = zip(["-Infinity", *bounds], [*bounds, "Infinity"], strict=True)
            names = [json.dumps({"start": start, "end": end}) for start, end in pairs]
    return Bucketizer(function, tuple(splits), pa.array(names))


def _imputer(function: str, column: pa.ChunkedArray, strategy: Any) -> Transformer:
    strategy = _read(function, "strategy", one_of("MEAN", "MEDIAN", "MOST_FREQUENT"), strategy)
    if strategy == "MOST_FREQUENT":
        values = column if pa.types.is_string(column.type) else _numbers(function, column)
        found, _ = _by_frequency(values)
        return Imputer(function, found[0] if len(found) else pa.scalar(None, values.type))
    if pa.types.is_string(column.type):
        raise invalid_query(f"{function}: strategy {strategy.lower()!r} needs a number, not a STRING")
    numbers = _present(function, column)
    if not len(numbers):
        return Imputer(function, pa.scalar(None, pa.float64()))
    value = float(numbers.mean()) if strategy == "MEAN" else _quantiles(numbers, [0.5])[0]
    return Imputer(function, pa.scalar(value))


def _label_encoder(
    function: str, column: pa.ChunkedArray, top_k: Any = 32_000, frequency_threshold: Any = 5
) -> LabelEncoder:
    _check_string(function, column.type)
    top_k = _read(function, "top_k", whole_number(at_least=1), top_k)
    if top_k > 1_000_000:  # noqa: PLR2004  as documented; bigframes sends the limit itself
        raise invalid_query(f"{function}: top_k cannot be more than 1,000,000")
    threshold = _read(function, "frequency_threshold", whole_number(at_least=0), frequency_threshold)
    values, counts = _by_frequency(column)
    vocabulary = values.filter(pa.array(counts >= threshold)).slice(0, top_k)
    return LabelEncoder(function, vocabulary.take(pc.sort_indices(vocabulary)))


def _one_hot_encoder(
    function: str,
    column: pa.ChunkedArray,
    drop: Any = "none",
    top_k: Any = 32_000,
    frequency_threshold: Any = 5,
) -> Transformer:
    drop = _read(function, "drop", one_of("NONE", "MOST_FREQUENT"), drop)
    labels = _label_encoder(function, column, top_k, frequency_threshold)
    values, _ = _by_frequency(column)
    if drop == "NONE" or not len(labels.vocabulary):
        return OneHotEncoder(labels, None)
    return OneHotEncoder(labels, labels.apply(pa.chunked_array([values[:1]]))[0].as_py())


def _feature_cross(function: str, column: pa.ChunkedArray, degree: Any = 2) -> Transformer:
    _check_crossed(column.type)
    degree = _read(function, "degree", whole_number(at_least=2), degree)
    if degree > 4:  # noqa: PLR2004  as documented
        raise invalid_query(f"{function}: degree must be 2, 3 or 4, not {degree}")
    return FeatureCross(degree)


FUNCTIONS = {
    "STANDARD_SCALER": Function(analytic=True, learn=_standard_scaler),
    "MIN_MAX_SCALER": Function(analytic=True, learn=_min_max_scaler),
    "MAX_ABS_SCALER": Function(analytic=True, learn=_max_abs_scaler),
    "ROBUST_SCALER": Function(analytic=True, learn=_robust_scaler, optional=3),
    "BUCKETIZE": Function(analytic=False, learn=_bucketize, required=1, optional=2),
    "QUANTILE_BUCKETIZE": Function(analytic=True, learn=_quantile_bucketize, required=1, optional=1),
    "IMPUTER": Function(analytic=True, learn=_imputer, required=1),
    "LABEL_ENCODER": Function(analytic=True, learn=_label_encoder, optional=2),
    "ONE_HOT_ENCODER": Function(analytic=True, learn=_one_hot_encoder, optional=3),
    "FEATURE_CROSS": Function(analytic=False, learn=_feature_cross, optional=1),
}


def _numbers(function: str, column: pa.ChunkedArray) -> pa.ChunkedArray:
    if not is_numeric(column.type):
        raise invalid_query(f"{function} needs a number, not {column.type}")
    return as_float64(column)


def _present(function: str, column: pa.ChunkedArray) -> Numbers:
    """Return the numbers that are not NULL, sorted, so that results do not depend on the order of the rows."""
    numbers: Numbers = np.sort(_numbers(function, column).drop_null().to_numpy())
    if not np.isfinite(numbers).all():
        raise invalid_query(f"{function} cannot learn from NaN or infinity")
    return numbers


def _quantiles(numbers: Numbers, fractions: Sequence[float]) -> list[float]:
    """Return the quantile of sorted numbers for each fraction; 0 if there are no numbers."""
    if not len(numbers) or not fractions:
        return [0.0 for _ in fractions]
    return [float(value) for value in np.quantile(numbers, fractions, method="inverted_cdf")]


def _by_frequency(column: pa.ChunkedArray) -> tuple[pa.Array, np.ndarray[Any, np.dtype[np.int64]]]:
    """Return the distinct values without NULL and their counts, the most frequent first, ties in ascending order."""
    counted = pa.table({"value": column.drop_null()}).group_by("value").aggregate([("value", "count")])
    counted = counted.sort_by([("value_count", "descending"), ("value", "ascending")]).combine_chunks()
    return pa.array(counted["value"].combine_chunks()), counted["value_count"].to_numpy()


def _check_string(function: str, column_type: pa.DataType) -> None:
    if not pa.types.is_string(column_type):
        raise invalid_query(f"{function} needs a STRING, not {column_type}: CAST it")


def _check_crossed(column_type: pa.DataType) -> None:
    fields = list(column_type) if pa.types.is_struct(column_type) else []
    names = [field.name for field in fields]
    if not 1 < len(fields) <= _MAX_CROSSED or "" in names or len(set(names)) < len(names):
        raise invalid_query(
            f"ML.FEATURE_CROSS needs a STRUCT with 2 to {_MAX_CROSSED} fields, each with a name of its own"
        )
    for field in fields:
        if not pa.types.is_string(field.type):
            raise invalid_query(f"ML.FEATURE_CROSS needs STRINGs, but field {field.name!r} is {field.type}: CAST it")


def _items(value: Any) -> Sequence[Any]:
    return value if isinstance(value, list | tuple) else [value]


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _read(function: str, argument: str, reader: Reader, value: Any) -> Any:
    try:
        return reader(value)
    except ValueError as error:
        raise invalid_query(f"{function}: {argument} {error}, not {value!r}") from error
