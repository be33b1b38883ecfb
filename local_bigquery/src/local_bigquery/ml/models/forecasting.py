"""The model type ARIMA_PLUS: forecasts of one or several time series.

A series is put on an even grid; repeated times are averaged, missing ones interpolated. Seasonal patterns are means by
phase of the deviations from a moving average, in which each cycle counts 10 % less than the next one. Deviations of
more than three interquartile ranges are spikes and dips, which are interpolated. What remains is an ARIMA model
(`models/arima.py`). Steps and holidays are not modelled.
https://cloud.google.com/bigquery/docs/reference/standard-sql/bigqueryml-syntax-create-time-series
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from time import perf_counter
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from scipy.special import ndtri

from local_bigquery.errors import invalid_query
from local_bigquery.ml.features.encoding import as_float64, is_numeric
from local_bigquery.ml.features.statistics import describe
from local_bigquery.ml.features.training_data import find_column
from local_bigquery.ml.metrics import FORECAST_FIELDS, forecast_metrics
from local_bigquery.ml.model import ModelType, Vector, refuse_threshold
from local_bigquery.ml.models.arima import Arima, Order, candidates, fit
from local_bigquery.ml.models.training_info import iterations
from local_bigquery.ml.options import Option, boolean, one_of, only, only_one_of, string, whole_number

_SECONDS = {"PER_MINUTE": 60, "HOURLY": 3_600, "DAILY": 86_400, "WEEKLY": 604_800}
_MONTHS = {"MONTHLY": 1, "QUARTERLY": 3, "YEARLY": 12}
_DAYS = {"MONTHLY": (28, 31), "QUARTERLY": (89, 92), "YEARLY": (365, 366)}
_SEASONS = ("DAILY", "WEEKLY", "QUARTERLY", "YEARLY")
_NO_SEASONALITY = "NO_SEASONALITY"
_MAX_HORIZON = 10_000
_DEFAULT_HORIZON = 3  # of ML.FORECAST
_CYCLE_WEIGHT = 0.9
_MIN_STRENGTH = 0.2  # of the variance that a pattern explains, for it to be one
_SPIKE_RANGES = 3.0
_MIN_POINTS = 3
_MAX_POINTS = 1_000_000
_UTC = pa.timestamp("us", "UTC")


def _names(value: Any) -> list[str]:
    names = [value] if isinstance(value, str) else value
    if not isinstance(names, list) or not names or not all(isinstance(name, str) for name in names):
        raise ValueError("must be the name of a column, or an array of names")
    return names


def _order(value: Any) -> tuple[int, int, int]:
    if not isinstance(value, tuple) or len(value) != 3:  # noqa: PLR2004  p, d and q
        raise ValueError("must be (p, d, q)")
    terms, differences = whole_number(at_least=0, at_most=5), whole_number(at_least=0, at_most=2)
    p, d, q = value
    return terms(p), differences(d), terms(q)


def _seasonalities(value: Any) -> list[str]:
    if not isinstance(value, list) or not value:
        raise ValueError("must be an array of names, such as ['WEEKLY']")
    return [only_one_of("AUTO", _NO_SEASONALITY, *_SEASONS)(name) for name in value]


_OPTIONS = (
    Option("time_series_timestamp_col", string),
    Option("time_series_data_col", string),
    Option("time_series_id_col", _names),
    Option("horizon", whole_number(at_least=1, at_most=_MAX_HORIZON), 1000),
    Option("auto_arima", boolean, default=True),
    Option("auto_arima_max_order", whole_number(at_least=1, at_most=5), 5),
    Option("auto_arima_min_order", whole_number(at_least=0, at_most=4), 0),
    Option("non_seasonal_order", _order),
    Option("include_drift", boolean, default=False),
    Option("data_frequency", one_of("AUTO_FREQUENCY", *_SECONDS, *_MONTHS), "AUTO_FREQUENCY"),
    Option("seasonalities", _seasonalities, ["AUTO"]),
    Option("clean_spikes_and_dips", boolean, default=True),
    Option("adjust_step_changes", boolean, default=True),  # without effect
    Option("decompose_time_series", boolean, default=True),  # without effect
    Option("max_time_series_length", whole_number(at_least=4)),
    Option("trend_smoothing_window_size", only(0), 0),
)


@dataclass(frozen=True)
class Grid:
    """Evenly spaced times: every `seconds`, or every `months`.

    Attributes:
        last: the last known time.
        seconds: the distance in seconds; 0 if it is in months.
        months: the distance in months; 0 if it is in seconds.
    """

    last: np.datetime64
    seconds: int
    months: int

    def next(self, count: int) -> Vector:
        """Return the times after the last known one."""
        steps = np.arange(1, count + 1)
        if self.seconds:
            return np.asarray(self.last + steps * np.timedelta64(self.seconds, "s"))
        month = self.last.astype("datetime64[M]")
        return np.asarray((month + steps * self.months).astype("datetime64[us]") + (self.last - month))


@dataclass(frozen=True)
class Series:
    """One fitted time series.

    Attributes:
        ids: its ids.
        grid: its times.
        values: the values without seasonal patterns, spikes and dips.
        patterns: the seasonal patterns by name, each from the first value on.
        has_spikes: spikes or dips were removed.
        models: the models that were fitted, the best one first.
    """

    ids: tuple[Any, ...]
    grid: Grid
    values: Vector
    patterns: Mapping[str, Vector]
    has_spikes: bool
    models: tuple[Arima, ...]

    def forecast(self, horizon: int) -> tuple[Vector, Vector, Vector]:
        """Return the next times, values and standard errors."""
        values, errors = self.models[0].forecast(self.values, horizon)
        coming = len(self.values) + np.arange(horizon)
        return self.grid.next(horizon), values + _sum(self.patterns, coming), errors


@dataclass(frozen=True, kw_only=True)
class Forecaster:
    """A trained ARIMA_PLUS model.

    Attributes:
        timestamp: the name of the column of times.
        data: the name of the column of values.
        ids: the types of the columns that identify a series, by name.
        series: the series.
        horizon: the greatest number of times to forecast.
        training_info: see `model.Model`.
        feature_info: see `model.Model`.
    """

    timestamp: str
    data: str
    ids: Mapping[str, pa.DataType]
    series: tuple[Series, ...]
    horizon: int
    training_info: pa.Table
    feature_info: pa.Table
    model_type: str = "ARIMA_PLUS"
    label: None = None

    def forecast(self, horizon: int | None, confidence_level: float) -> pa.Table:
        """Return the result of ML.FORECAST; see `model.Forecasting`."""
        count = min(_DEFAULT_HORIZON, self.horizon) if horizon is None else horizon
        if count > self.horizon:
            raise invalid_query(
                f"ML.FORECAST: horizon is {count}; the model was trained with a horizon of {self.horizon}"
            )
        forecasts = [series.forecast(count) for series in self.series]
        times, values, errors = (np.concatenate(parts) for parts in zip(*forecasts, strict=True))
        reach = float(ndtri((1 + confidence_level) / 2)) * errors
        bounds = {"lower_bound": values - reach, "upper_bound": values + reach}
        return pa.table(
            {
                **self._ids([series for series in self.series for _ in range(count)]),
                "forecast_timestamp": pa.array(times).cast(_UTC),
                "forecast_value": values,
                "standard_error": errors,
                "confidence_level": np.full(len(values), confidence_level),
                **{f"prediction_interval_{name}": column for name, column in bounds.items()},
                **{f"confidence_interval_{name}": column for name, column in bounds.items()},
            }
        )

    def arima_evaluate(self, *, all_candidates: bool) -> pa.Table:
        """Return the result of ML.ARIMA_EVALUATE."""
        rows = [
            (series, model)
            for series in self.series
            for model in (series.models if all_candidates else series.models[:1])
        ]
        columns: dict[str, tuple[list[Any], pa.DataType]] = {
            "non_seasonal_p": ([model.order.p for _, model in rows], pa.int64()),
            "non_seasonal_d": ([model.order.d for _, model in rows], pa.int64()),
            "non_seasonal_q": ([model.order.q for _, model in rows], pa.int64()),
            "has_drift": ([model.order.has_drift for _, model in rows], pa.bool_()),
            "log_likelihood": ([model.log_likelihood for _, model in rows], pa.float64()),
            "AIC": ([model.aic for _, model in rows], pa.float64()),
            "variance": ([model.variance for _, model in rows], pa.float64()),
            "seasonal_periods": (
                [list(series.patterns) or [_NO_SEASONALITY] for series, _ in rows],
                pa.list_(pa.string()),
            ),
            "has_holiday_effect": ([False] * len(rows), pa.bool_()),
            "has_spikes_and_dips": ([series.has_spikes for series, _ in rows], pa.bool_()),
            "has_step_changes": ([False] * len(rows), pa.bool_()),
            "error_message": ([""] * len(rows), pa.string()),
        }
        ids = self._ids([series for series, _ in rows])
        return pa.table({**ids, **{name: pa.array(values, kind) for name, (values, kind) in columns.items()}})

    def arima_coefficients(self) -> pa.Table:
        """Return the result of ML.ARIMA_COEFFICIENTS."""
        best = [series.models[0] for series in self.series]
        numbers = pa.list_(pa.float64())
        return pa.table(
            {
                **self._ids(self.series),
                "ar_coefficients": pa.array([model.ar.tolist() for model in best], numbers),
                "ma_coefficients": pa.array([model.ma.tolist() for model in best], numbers),
                "intercept_or_drift": [model.drift for model in best],
            }
        )

    def evaluate(self, rows: pa.Table | None, threshold: float | None = None) -> pa.Table:
        """Return the errors of forecasts for known values by series; without rows, the result of ML.ARIMA_EVALUATE."""
        refuse_threshold(threshold, self.model_type)
        if rows is None:
            return self.arima_evaluate(all_candidates=False)
        known = {ids: (times, values) for ids, times, values in _split(rows, self.timestamp, self.data, list(self.ids))}
        found: list[tuple[Series, dict[str, float | None]]] = []
        for series in self.series:
            times, values = known.get(series.ids, (np.empty(0, "datetime64[us]"), np.empty(0)))
            forecast_times, forecast_values, _ = series.forecast(self.horizon)
            _, at, forecast_at = np.intersect1d(times, forecast_times, return_indices=True)
            if len(at):
                found.append((series, forecast_metrics(values[at], forecast_values[forecast_at])))
        if not found:
            raise invalid_query("There are no rows to evaluate: no row has a time that the model forecasts")
        metrics = {name: [values[name] for _, values in found] for name in found[0][1]}
        return pa.table({**self._ids([series for series, _ in found]), **metrics})

    def rest_metrics(self) -> dict[str, Any]:
        """See `model.Model`."""
        rows = self.arima_evaluate(all_candidates=False).to_pylist()
        metrics = []
        for series, row in zip(self.series, rows, strict=True):
            order = {name: str(row[f"non_seasonal_{name}"]) for name in ("p", "d", "q")}
            fitting = {field: row[column] for column, field in FORECAST_FIELDS.items()}
            described = {"nonSeasonalOrder": order, "arimaFittingMetrics": fitting, "hasDrift": row["has_drift"]}
            named = {"timeSeriesIds": [str(value) for value in series.ids]} if series.ids else {}
            metrics.append({**described, **named, "seasonalPeriods": row["seasonal_periods"]})
        return {"arimaForecastingMetrics": {"arimaSingleModelForecastingMetrics": metrics}}

    def _ids(self, series: Sequence[Series]) -> dict[str, pa.Array]:
        return {
            name: pa.array([each.ids[number] for each in series], kind)
            for number, (name, kind) in enumerate(self.ids.items())
        }


def train_forecaster(rows: pa.Table, options: Mapping[str, Any]) -> Forecaster:
    """Fit a model to every series; see `model.ModelType`."""
    started = perf_counter()
    _check(options)
    timestamp, data = (_column(rows, options, name) for name in ("time_series_timestamp_col", "time_series_data_col"))
    ids = [_existing(rows, name) for name in options["time_series_id_col"] or ()]
    series = tuple(_fitted(*each, options) for each in _split(rows, timestamp, data, ids))
    if not series:
        raise invalid_query("The training query returned no rows with a value")
    return Forecaster(
        timestamp=timestamp,
        data=data,
        ids={name: rows[name].type for name in ids},
        series=series,
        horizon=options["horizon"],
        training_info=iterations(loss=[None], duration_ms=[round(1000 * (perf_counter() - started))]),
        feature_info=describe(rows, [timestamp, data, *ids]),
    )


def _check(options: Mapping[str, Any]) -> None:
    """Refuse options that contradict each other."""
    if options["auto_arima"] == (options["non_seasonal_order"] is not None):
        raise invalid_query("Option 'non_seasonal_order' goes with auto_arima=FALSE, which needs it")
    if options["include_drift"] and (options["auto_arima"] or options["non_seasonal_order"][1] > 1):
        raise invalid_query("Option 'include_drift' goes with auto_arima=FALSE and at most one difference")
    if options["auto_arima_min_order"] > options["auto_arima_max_order"]:
        raise invalid_query("Option 'auto_arima_min_order' is above 'auto_arima_max_order'")


def _column(rows: pa.Table, options: Mapping[str, Any], option: str) -> str:
    if options[option] is None:
        raise invalid_query(f"Model type ARIMA_PLUS needs the option {option!r}")
    return _existing(rows, options[option])


def _existing(rows: pa.Table, name: str) -> str:
    column = find_column(rows, name)
    if column is None:
        raise invalid_query(f"Column {name!r} is missing in the query, which returns {', '.join(rows.column_names)}")
    return column


def _split(
    rows: pa.Table, timestamp: str, data: str, ids: Sequence[str]
) -> Iterator[tuple[tuple[Any, ...], Vector, Vector]]:
    """Yield the ids, times and values of every series in the order of the ids; the values are not NULL."""
    times, values = rows[_existing(rows, timestamp)], rows[_existing(rows, data)]
    if not (pa.types.is_timestamp(times.type) or pa.types.is_date(times.type)):
        raise invalid_query(f"The column {timestamp!r} must be a TIMESTAMP, DATE or DATETIME, not {times.type}")
    if not is_numeric(values.type):
        raise invalid_query(f"The column {data!r} must be a number, not {values.type}")
    if times.null_count:
        raise invalid_query(f"The column {timestamp!r} contains {times.null_count} NULL values; filter them out")
    numbers: Vector = pc.fill_null(as_float64(values), np.nan).to_numpy()
    if not np.isfinite(numbers[np.asarray(values.is_valid())]).all():
        raise invalid_query(f"The column {data!r} contains NaN or infinity")
    instants = times.cast(pa.timestamp("us")).to_numpy().astype("datetime64[us]")
    keys = (
        list(zip(*(rows[_existing(rows, name)].to_pylist() for name in ids), strict=True))
        if ids
        else [()] * len(numbers)
    )
    places: dict[tuple[Any, ...], list[int]] = {}
    for place, key in enumerate(keys):
        if np.isfinite(numbers[place]):
            places.setdefault(key, []).append(place)
    for key in sorted(places, key=lambda key: tuple((value is not None, value) for value in key)):
        chosen = np.array(places[key])
        yield key, instants[chosen], numbers[chosen]


def _fitted(ids: tuple[Any, ...], times: Vector, values: Vector, options: Mapping[str, Any]) -> Series:
    """Return a series with its models.

    Raises:
        BigQueryError: `invalidQuery` if there are too few points.
    """
    frequency, grid, values = _even(times, values, options["data_frequency"])
    if options["max_time_series_length"] is not None:
        values = values[-options["max_time_series_length"] :]
    if len(values) < _MIN_POINTS:
        named = f" {', '.join(map(str, ids))}" if ids else ""
        raise invalid_query(f"The time series{named} has {len(values)} points; it needs at least {_MIN_POINTS}")
    patterns = _patterns(values, frequency, grid, options["seasonalities"])
    places = np.arange(len(values))
    remainder = values - _sum(patterns, places)
    spikes = np.zeros(len(values), dtype=np.bool_)
    if options["clean_spikes_and_dips"]:
        deviations = remainder - _smooth(remainder, max((len(pattern) for pattern in patterns.values()), default=7))
        low, high = np.quantile(deviations, [0.25, 0.75])
        reach = _SPIKE_RANGES * (high - low)
        spikes = (deviations < low - reach) | (deviations > high + reach) if reach else spikes
        remainder = np.interp(places, places[~spikes], remainder[~spikes])
    if options["auto_arima"]:
        models = candidates(remainder, options["auto_arima_min_order"], options["auto_arima_max_order"])
    else:
        p, d, q = options["non_seasonal_order"]
        models = [model for model in [fit(remainder, Order(p, d, q, options["include_drift"]))] if model is not None]
    # A series without variance has no likelihood. It stays what it is.
    level = Arima(Order(0, 0, 0, has_drift=True), np.empty(0), np.empty(0), float(remainder[-1]), 0.0, float("nan"))
    return Series(
        ids=ids,
        grid=grid,
        values=remainder,
        patterns=patterns,
        has_spikes=bool(spikes.any()),
        models=tuple(models) or (level,),
    )


def _even(times: Vector, values: Vector, frequency: str) -> tuple[str, Grid, Vector]:
    """Return the frequency of a series, its grid, and its values on the grid."""
    known = np.unique(times)
    gaps = np.diff(known)
    if frequency == "AUTO_FREQUENCY" and len(gaps):
        sizes, counts = np.unique(gaps, return_counts=True)
        seconds = int(sizes[counts.argmax()] / np.timedelta64(1, "s"))
        in_months = (name for name, (low, high) in _DAYS.items() if low * 86_400 <= seconds <= high * 86_400)
        in_seconds = (name for name, size in _SECONDS.items() if size == seconds)
        frequency = next(in_months, None) or next(in_seconds, "")
    else:
        seconds = _SECONDS.get(frequency, 86_400)
    months = _MONTHS.get(frequency, 0)
    if months:
        numbers = times.astype("datetime64[M]").astype(np.int64)
        places = (numbers - numbers.min()) // months
    else:
        places = np.rint((times - known[0]) / np.timedelta64(max(seconds, 1), "s")).astype(np.int64)
    if places.max() >= _MAX_POINTS:
        raise invalid_query(
            f"The times are mostly {seconds} seconds apart, which makes {places.max() + 1} points; a series has at "
            f"most {_MAX_POINTS}: give a data_frequency, or round the times"
        )
    sums, counts = np.bincount(places, values), np.bincount(places)
    present = np.flatnonzero(counts)
    even = np.interp(np.arange(len(counts)), present, sums[present] / counts[present])
    return frequency, Grid(known[-1], 0 if months else max(seconds, 1), months), even


def _patterns(values: Vector, frequency: str, grid: Grid, wanted: Sequence[str]) -> dict[str, Vector]:
    """Return the seasonal patterns by name, shorter ones first; each begins with the first value."""
    if frequency in _MONTHS:
        lengths = {"QUARTERLY": 3 / grid.months, "YEARLY": 12 / grid.months}
    else:
        lengths = {
            "DAILY": 86_400 / grid.seconds,
            "WEEKLY": 604_800 / grid.seconds,
            "YEARLY": 31_536_000 / grid.seconds,
        }
    found: dict[str, Vector] = {}
    remainder = values
    for name in _SEASONS:
        length = round(lengths.get(name, 0))
        if length < 2 or len(values) < 2 * length or not {"AUTO", name} & set(wanted):  # noqa: PLR2004  two cycles
            continue
        deviations = remainder - _smooth(remainder, length)
        phases = np.arange(len(values)) % length
        weights = _CYCLE_WEIGHT ** ((len(values) - 1 - np.arange(len(values))) // length)
        pattern = np.bincount(phases, weights * deviations) / np.bincount(phases, weights)
        pattern -= pattern.mean()
        missed = deviations - pattern[phases]
        unexplained = (missed.var() / (len(values) - length)) / max(deviations.var() / (len(values) - 1), 1e-300)
        if name in wanted or unexplained < 1 - _MIN_STRENGTH:
            found[name] = pattern
            remainder = remainder - pattern[phases]
    return found


def _sum(patterns: Mapping[str, Vector], places: Vector) -> Vector:
    """Return the sum of seasonal patterns at some places of the series."""
    return sum((pattern[places % len(pattern)] for pattern in patterns.values()), np.zeros(len(places)))


def _smooth(values: Vector, length: int) -> Vector:
    """Return the moving average over a cycle, continued at both ends by reflection."""
    length = min(length, len(values) - 1)
    window = np.full(length, 1 / length) if length % 2 else np.r_[0.5, np.ones(length - 1), 0.5] / length
    return np.convolve(np.pad(values, len(window) // 2, mode="reflect", reflect_type="odd"), window, "valid")


ARIMA_PLUS = ModelType("ARIMA_PLUS", "ARIMA_PLUS", _OPTIONS, train_forecaster, takes_transform=False)
