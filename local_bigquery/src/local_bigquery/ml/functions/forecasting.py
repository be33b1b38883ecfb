"""ML.FORECAST, ML.ARIMA_EVALUATE and ML.ARIMA_COEFFICIENTS: functions of time series.

https://cloud.google.com/bigquery/docs/reference/standard-sql/bigqueryml-syntax-forecast
https://cloud.google.com/bigquery/docs/reference/standard-sql/bigqueryml-syntax-arima-evaluate
https://cloud.google.com/bigquery/docs/reference/standard-sql/bigqueryml-syntax-arima-coefficients
"""

from local_bigquery.ml.functions.table_function import TableFunction
from local_bigquery.ml.model import Forecasting
from local_bigquery.ml.options import Option, boolean, number, whole_number

_MODELS = "models of type ARIMA_PLUS"
FUNCTIONS = {
    "FORECAST": TableFunction(
        lambda model, _rows, settings: model.forecast(settings["horizon"], settings["confidence_level"]),
        takes=Forecasting,
        models=_MODELS,
        settings=(
            Option("horizon", whole_number(at_least=1)),
            Option("confidence_level", number(at_least=0.0, less_than=1.0), 0.95),
        ),
    ),
    "ARIMA_EVALUATE": TableFunction(
        lambda model, _rows, settings: model.arima_evaluate(all_candidates=settings["show_all_candidate_models"]),
        takes=Forecasting,
        models=_MODELS,
        settings=(Option("show_all_candidate_models", boolean, default=False),),
    ),
    "ARIMA_COEFFICIENTS": TableFunction(
        lambda model, *_: model.arima_coefficients(), takes=Forecasting, models=_MODELS
    ),
}
