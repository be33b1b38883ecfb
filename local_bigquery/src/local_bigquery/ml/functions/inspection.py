"""Functions that describe a model: its weights or centroids, its training, its features and their influence.

https://cloud.google.com/bigquery/docs/reference/standard-sql/bigqueryml-syntax-weights
https://cloud.google.com/bigquery/docs/reference/standard-sql/bigqueryml-syntax-global-explain
https://cloud.google.com/bigquery/docs/reference/standard-sql/bigqueryml-syntax-importance
https://cloud.google.com/bigquery/docs/reference/standard-sql/bigqueryml-syntax-centroids
https://cloud.google.com/bigquery/docs/reference/standard-sql/bigqueryml-syntax-principal-components
https://cloud.google.com/bigquery/docs/reference/standard-sql/bigqueryml-syntax-principal-component-info
https://cloud.google.com/bigquery/docs/reference/standard-sql/bigqueryml-syntax-train
https://cloud.google.com/bigquery/docs/reference/standard-sql/bigqueryml-syntax-feature
"""

from typing import Any

import pyarrow as pa

from local_bigquery.errors import invalid_query
from local_bigquery.ml.functions.table_function import Settings, TableFunction, not_supported
from local_bigquery.ml.model import Classifying, Clustering, Explainable, Reducing, TreeBased, Weighted
from local_bigquery.ml.options import Option, boolean


def _global_explain(model: Any, _rows: None, settings: Settings) -> pa.Table:
    by_class = settings["class_level_explain"]
    if by_class and not isinstance(model, Classifying):
        raise not_supported("ML.GLOBAL_EXPLAIN with class_level_explain", model, "classification models")
    explanation = model.class_explanation if by_class else model.global_explanation
    if explanation is None:
        raise invalid_query("ML.GLOBAL_EXPLAIN needs a model created with the option enable_global_explain=TRUE")
    return explanation


_STANDARDIZE = Option("standardize", boolean, default=False)
_PCA = "models of type PCA"
FUNCTIONS = {
    "WEIGHTS": TableFunction(
        lambda model, _rows, settings: model.weights(standardize=settings["standardize"]),
        takes=Weighted,
        models="linear and logistic regression models, and matrix factorizations",
        settings=(_STANDARDIZE,),
    ),
    "CENTROIDS": TableFunction(
        lambda model, _rows, settings: model.centroids(standardize=settings["standardize"]),
        takes=Clustering,
        models="k-means models",
        settings=(_STANDARDIZE,),
    ),
    "PRINCIPAL_COMPONENTS": TableFunction(lambda model, *_: model.principal_components(), takes=Reducing, models=_PCA),
    "PRINCIPAL_COMPONENT_INFO": TableFunction(
        lambda model, *_: model.principal_component_info(), takes=Reducing, models=_PCA
    ),
    "FEATURE_IMPORTANCE": TableFunction(
        lambda model, *_: model.feature_importance(), takes=TreeBased, models="boosted tree and random forest models"
    ),
    "GLOBAL_EXPLAIN": TableFunction(
        _global_explain,
        takes=Explainable,
        models="models that predict a label",
        settings=(Option("class_level_explain", boolean, default=False),),
    ),
    "TRAINING_INFO": TableFunction(lambda model, *_: model.training_info),
    "FEATURE_INFO": TableFunction(lambda model, *_: model.feature_info),
}
