"""ML.FORECAST, ML.ARIMA_EVALUATE and ML.ARIMA_COEFFICIENTS: functions of time series.

https://cloud.google.com/bigquery/docs/reference/standard-sql/bigqueryml-syntax-forecast
https://cloud.google.com/bigquery/docs/reference/standard-sql/bigqueryml-syntax-arima-evaluate
https://cloud.google.com/bigquery/docs/reference/standard-sql/bigqueryml-syntax-arima-coefficients
"""

import pyarrow as pa

from local_bigquery.ml.functions.table_function import Settings, TableFunction, not_supported
from local_bigquery.ml.model import Forecasting, Model
from local_bigquery.ml.options import Option, boolean, number, whole_number


def _forecast(model: Model, _rows: pa.Table | None, settings: Settings) -> pa.Table:
    return _forecasting("ML.FORECAST", model).forecast(settings["horizon"], settings["confidence_level"])


def _arima_evaluate(model: Model, _rows: pa.Table | None, settings: Settings) -> pa.Table:
    every = settings["show_all_candidate_models"]
    return _forecasting("ML.ARIMA_EVALUATE", model).arima_evaluate(all_candidates=every)


def _arima_coefficients(model: Model, _rows: pa.Table | None, _settings: Settings) -> pa.Table:
    return _forecasting("ML.ARIMA_COEFFICIENTS", model).arima_coefficients()


def _forecasting(function: str, model: Model) -> Forecasting:
    if not isinstance(model, Forecasting):
        raise not_supported(function, model, "models of type ARIMA_PLUS")
    return model


FORECAST = TableFunction(
    run=_forecast,
    input="none",
    settings=(
        Option("horizon", whole_number(at_least=1)),
        Option("confidence_level", number(at_least=0.0, less_than=1.0), 0.95),
    ),
)
ARIMA_EVALUATE = TableFunction(
    run=_arima_evaluate, input="none", settings=(Option("show_all_candidate_models", boolean, default=False),)
)
ARIMA_COEFFICIENTS = TableFunction(run=_arima_coefficients, input="none")
