"""Non-seasonal ARIMA models of evenly spaced series: the exact Gaussian likelihood, the choice of the order, forecasts.

The likelihood is that of the series after Ansley's transformation, whose covariance has few diagonals (Brockwell and
Davis: Time Series: Theory and Methods, 2nd edition, 1991, section 5.3). The order is chosen as by auto.arima (Hyndman
and Khandakar: Automatic Time Series Forecasting, 2008), but without shortcuts: differences by the KPSS test, the rest
by Akaike's criterion.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import inf, log, pi

import numpy as np
from scipy import linalg, optimize, signal

from local_bigquery.ml.model import Vector

_KPSS_CRITICAL = 0.463  # at 5 % (Kwiatkowski, Phillips, Schmidt, Shin, 1992)
_MAX_DIFFERENCES = 2
_LIMIT = 0.999  # of partial autocorrelations, which keeps models stationary and invertible


@dataclass(frozen=True)
class Order:
    """The order of a model: the numbers of autoregressive terms, differences and moving averages, and of a drift.

    The drift is the mean of the series after the differences.
    """

    p: int
    d: int
    q: int
    has_drift: bool


@dataclass(frozen=True)
class Arima:
    """A fitted model.

    Attributes:
        order: the order.
        ar: the coefficients of the autoregressive terms, (p,).
        ma: the coefficients of the moving averages, (q,).
        drift: the mean after the differences; 0 without a drift.
        variance: the variance of the innovations.
        log_likelihood: the logarithm of the likelihood.
    """

    order: Order
    ar: Vector
    ma: Vector
    drift: float
    variance: float
    log_likelihood: float

    @property
    def aic(self) -> float:
        """Akaike's criterion, which counts the variance as a parameter."""
        return 2.0 * (self.order.p + self.order.q + self.order.has_drift + 1) - 2.0 * self.log_likelihood

    def forecast(self, series: Vector, horizon: int) -> tuple[Vector, Vector]:
        """Return the next values of a series and their standard errors, both (horizon,)."""
        ar, ma = _polynomial(-self.ar), _polynomial(self.ma)
        centred = np.diff(series, self.order.d) - self.drift
        errors = signal.lfilter(ar, ma, centred)
        known = centred[::-1][: self.order.p], errors[::-1][: self.order.q]
        state = signal.lfiltic(ma, ar, known[0], known[1])
        values = signal.lfilter(ma, ar, np.zeros(horizon), zi=state)[0] + self.drift
        for remaining in range(self.order.d - 1, -1, -1):
            values = np.diff(series, remaining)[-1] + np.cumsum(values)
        whole = ar
        for _ in range(self.order.d):
            whole = np.convolve(whole, [1.0, -1.0])
        impulse = np.zeros(horizon)
        impulse[:1] = 1.0
        weights = signal.lfilter(ma, whole, impulse)
        return values, np.sqrt(self.variance * np.cumsum(weights**2))


def fit(series: Vector, order: Order) -> Arima | None:
    """Return the model of an order that is most likely; None if the series is too short or too regular for it."""
    values = np.diff(series, order.d)
    if len(values) <= 2 * max(order.p, order.q) + order.has_drift + 1 or not np.ptp(values):
        return None
    scale = float(values.std()) or 1.0

    def loss(parameters: Vector) -> float:
        found = _likelihood(values / scale, _ar(parameters[: order.p]), -_ar(parameters[order.p :]), order)
        return inf if found is None else -found[0]

    start = np.zeros(order.p + order.q)
    best = optimize.minimize(loss, start, method="L-BFGS-B").x if len(start) else start
    ar, ma = _ar(best[: order.p]), -_ar(best[order.p :])
    found = _likelihood(values / scale, ar, ma, order)
    if found is None:
        return None
    log_likelihood, drift, variance = found
    return Arima(order, ar, ma, drift * scale, variance * scale**2, log_likelihood - len(values) * log(scale))


def candidates(series: Vector, minimum: int, maximum: int) -> list[Arima]:
    """Return the models of all orders that auto.arima tries, the best one first.

    Args:
        series: the series.
        minimum: the least sum of p and q.
        maximum: the greatest sum of p and q.
    """
    differences = 0
    while differences < _MAX_DIFFERENCES and _kpss(np.diff(series, differences)) > _KPSS_CRITICAL:
        differences += 1
    fitted = (fit(series, order) for order in _orders(differences, minimum, maximum))
    return sorted((model for model in fitted if model is not None), key=lambda model: model.aic)


def _orders(differences: int, minimum: int, maximum: int) -> Iterator[Order]:
    for p in range(maximum + 1):
        for q in range(maximum + 1 - p):
            if p + q >= minimum:
                for has_drift in (False, True)[: 1 if differences == _MAX_DIFFERENCES else 2]:
                    yield Order(p, differences, q, has_drift)


def _kpss(series: Vector) -> float:
    """Return the statistic of the test that a series is stationary around a level; 0 for a constant series."""
    count = len(series)
    if count < 3 or not np.ptp(series):  # noqa: PLR2004  too few for a variance
        return 0.0
    errors = series - series.mean()
    lags = int(4 * (count / 100) ** 0.25)
    variance = float(errors @ errors) / count
    for lag in range(1, lags + 1):
        variance += 2 * (1 - lag / (lags + 1)) * float(errors[lag:] @ errors[:-lag]) / count
    return float((np.cumsum(errors) ** 2).sum()) / (count**2 * max(variance, np.finfo(np.float64).tiny))


def _likelihood(values: Vector, ar: Vector, ma: Vector, order: Order) -> tuple[float, float, float] | None:
    """Return the logarithm of the likelihood, the drift and the variance; None where they cannot be computed."""
    try:
        factor, first = _covariance(ar, ma, len(values))
        columns = np.column_stack([values, np.ones(len(values))]) if order.has_drift else values[:, np.newaxis]
        transformed = signal.lfilter(_polynomial(-ar), [1.0], columns, axis=0)
        transformed[:first] = columns[:first]
        width = len(factor) - 1
        white = linalg.solve_banded((width, 0), factor, transformed)
    except (np.linalg.LinAlgError, ValueError):
        return None
    errors, drift = white[:, 0], 0.0
    if order.has_drift:
        drift = float(white[:, 1] @ white[:, 0] / (white[:, 1] @ white[:, 1]))
        errors = white[:, 0] - drift * white[:, 1]
    count = len(values)
    variance = float(errors @ errors) / count
    if not variance > 0:
        return None
    determinant = 2.0 * float(np.log(factor[0]).sum())
    return -0.5 * (count * (log(2 * pi * variance) + 1) + determinant), drift, variance


def _covariance(ar: Vector, ma: Vector, count: int) -> tuple[Vector, int]:
    """Return the Cholesky factor of the covariance of a transformed series, for innovations of variance 1.

    The transformation applies the autoregressive polynomial to all but the first values.

    Returns:
        The diagonals of the factor, (diagonals, count), the main one first; and the number of the first values.
    """
    first = max(len(ar), len(ma))
    average = _polynomial(ma)
    bands = np.zeros((first + 1, count))
    for lag in range(len(average)):
        bands[lag] = average[: len(average) - lag] @ average[lag:]
    covariances = _autocovariances(ar, ma, first)
    # The covariance of a value with the transformed value `lag` later: only of innovations that both contain.
    weights = signal.lfilter(average, _polynomial(-ar), np.eye(1, first + 1)[0])
    crossed = [average[lag:] @ weights[: len(average) - lag] if lag < len(average) else 0.0 for lag in range(first + 1)]
    for column in range(first):
        for lag in range(first + 1):
            bands[lag, column] = covariances[lag] if column + lag < first else crossed[lag]
    return linalg.cholesky_banded(bands, lower=True), first


def _autocovariances(ar: Vector, ma: Vector, last: int) -> Vector:
    """Return the autocovariances of a stationary process at the lags 0 to `last`, for innovations of variance 1."""
    average = _polynomial(ma)
    weights = signal.lfilter(average, _polynomial(-ar), np.eye(1, last + 1)[0])
    right = np.array(
        [average[lag:] @ weights[: len(average) - lag] if lag < len(average) else 0.0 for lag in range(last + 1)]
    )
    left = np.eye(last + 1)
    for lag in range(last + 1):
        for number, coefficient in enumerate(ar, start=1):
            left[lag, abs(lag - number)] -= coefficient
    return np.asarray(np.linalg.solve(left, right))


def _ar(parameters: Sequence[float] | Vector) -> Vector:
    """Return the coefficients of the stationary process with tanh(parameters) as partial autocorrelations."""
    coefficients = np.empty(0)
    for partial in _LIMIT * np.tanh(parameters):
        coefficients = np.append(coefficients - partial * coefficients[::-1], partial)
    return coefficients


def _polynomial(coefficients: Vector) -> Vector:
    return np.concatenate([[1.0], coefficients])
