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

import pyarrow as pa

from local_bigquery.errors import invalid_query
from local_bigquery.ml.functions.table_function import Settings, TableFunction, not_supported
from local_bigquery.ml.model import Classifying, Clustering, Explainable, Model, Reducing, TreeBased, Weighted
from local_bigquery.ml.options import Option, boolean


def _weights(model: Model, _rows: pa.Table | None, settings: Settings) -> pa.Table:
    if not isinstance(model, Weighted):
        raise not_supported("ML.WEIGHTS", model, "linear and logistic regression models, and matrix factorizations")
    return model.weights(standardize=settings["standardize"])


def _centroids(model: Model, _rows: pa.Table | None, settings: Settings) -> pa.Table:
    if not isinstance(model, Clustering):
        raise not_supported("ML.CENTROIDS", model, "k-means models")
    return model.centroids(standardize=settings["standardize"])


def _principal_components(model: Model, _rows: pa.Table | None, _settings: Settings) -> pa.Table:
    if not isinstance(model, Reducing):
        raise not_supported("ML.PRINCIPAL_COMPONENTS", model, "models of type PCA")
    return model.principal_components()


def _principal_component_info(model: Model, _rows: pa.Table | None, _settings: Settings) -> pa.Table:
    if not isinstance(model, Reducing):
        raise not_supported("ML.PRINCIPAL_COMPONENT_INFO", model, "models of type PCA")
    return model.principal_component_info()


def _feature_importance(model: Model, _rows: pa.Table | None, _settings: Settings) -> pa.Table:
    if not isinstance(model, TreeBased):
        raise not_supported("ML.FEATURE_IMPORTANCE", model, "boosted tree and random forest models")
    return model.feature_importance()


def _global_explain(model: Model, _rows: pa.Table | None, settings: Settings) -> pa.Table:
    if not isinstance(model, Explainable):
        raise not_supported("ML.GLOBAL_EXPLAIN", model, "models that predict a label")
    by_class = settings["class_level_explain"]
    if by_class and not isinstance(model, Classifying):
        raise not_supported("ML.GLOBAL_EXPLAIN with class_level_explain", model, "classification models")
    explanation = model.class_explanation if by_class else model.global_explanation
    if explanation is None:
        raise invalid_query("ML.GLOBAL_EXPLAIN needs a model created with the option enable_global_explain=TRUE")
    return explanation


def _training_info(model: Model, _rows: pa.Table | None, _settings: Settings) -> pa.Table:
    return model.training_info


def _feature_info(model: Model, _rows: pa.Table | None, _settings: Settings) -> pa.Table:
    return model.feature_info


_STANDARDIZE = Option("standardize", boolean, default=False)
WEIGHTS = TableFunction(run=_weights, input="none", settings=(_STANDARDIZE,))
CENTROIDS = TableFunction(run=_centroids, input="none", settings=(_STANDARDIZE,))
PRINCIPAL_COMPONENTS = TableFunction(run=_principal_components, input="none")
PRINCIPAL_COMPONENT_INFO = TableFunction(run=_principal_component_info, input="none")
FEATURE_IMPORTANCE = TableFunction(run=_feature_importance, input="none")
GLOBAL_EXPLAIN = TableFunction(
    run=_global_explain, input="none", settings=(Option("class_level_explain", boolean, default=False),)
)
TRAINING_INFO = TableFunction(run=_training_info, input="none")
FEATURE_INFO = TableFunction(run=_feature_info, input="none")
