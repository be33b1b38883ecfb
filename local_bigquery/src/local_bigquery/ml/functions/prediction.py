"""ML.PREDICT, ML.EXPLAIN_PREDICT: a prediction for every row, before the columns of the input; and ML.RECOMMEND.

https://cloud.google.com/bigquery/docs/reference/standard-sql/bigqueryml-syntax-predict
https://cloud.google.com/bigquery/docs/reference/standard-sql/bigqueryml-syntax-explain-predict
https://cloud.google.com/bigquery/docs/reference/standard-sql/bigqueryml-syntax-recommend
"""

from typing import Any

import numpy as np
import pyarrow as pa

from local_bigquery.errors import invalid_query
from local_bigquery.ml.features.encoding import struct_lists
from local_bigquery.ml.functions.table_function import Settings, TableFunction, probability
from local_bigquery.ml.model import Explainable, Explanation, Predicting, Recommending, Reducing
from local_bigquery.ml.options import Option, boolean, whole_number


def _predict(model: Any, rows: pa.Table, settings: Settings) -> pa.Table:
    if settings["keep_original_columns"] is not None and not isinstance(model, Reducing):
        raise invalid_query(
            "Option 'keep_original_columns' of ML.PREDICT only applies to PCA models: choose the columns in the SELECT"
        )
    return model.predict(rows, settings["threshold"])


def _explain_predict(model: Any, rows: pa.Table, settings: Settings) -> pa.Table:
    explanation: Explanation = model.explain(
        rows, settings["threshold"], approximate=settings["approx_feature_contrib"]
    )
    result = {f"predicted_{model.label}": explanation.predicted}
    if explanation.probability is not None:
        result["probability"] = pa.array(explanation.probability)
    result |= {
        "top_feature_attributions": _top(explanation, settings["top_k_features"]),
        "baseline_prediction_value": pa.array(explanation.baseline),
        "prediction_value": pa.array(explanation.prediction),
        # The attributions always add up to the prediction, even those that are approximate.
        "approximation_error": pa.array(np.zeros(rows.num_rows)),
    }
    return pa.table(result)


def _top(explanation: Explanation, count: int) -> pa.ListArray:
    """Return the features with the greatest absolute attributions of every row, and the attributions."""
    values = explanation.attributions
    order = np.argsort(-np.abs(values), axis=1, kind="stable")[:, :count]
    features = pa.array(explanation.features, pa.string()).take(pa.array(order.ravel()))
    attributions = pa.array(np.take_along_axis(values, order, axis=1).ravel())
    return struct_lists(order.shape[1], feature=features, attribution=attributions)


FUNCTIONS = {
    "PREDICT": TableFunction(
        _predict,
        input="required",
        takes=Predicting,
        models="models that predict from features",
        settings=(Option("threshold", probability), Option("keep_original_columns", boolean)),
        keeps_input=True,
    ),
    "EXPLAIN_PREDICT": TableFunction(
        _explain_predict,
        input="required",
        takes=Explainable,
        models="models that predict a label",
        settings=(
            Option("top_k_features", whole_number(at_least=1), 5),
            Option("threshold", probability),
            Option("approx_feature_contrib", boolean, default=False),
        ),
        keeps_input=True,
    ),
    "RECOMMEND": TableFunction(
        lambda model, rows, _settings: model.recommend(rows),
        input="optional",
        takes=Recommending,
        models="models of type MATRIX_FACTORIZATION",
        keeps_input=True,
        adds_input=False,
    ),
}
