"""Which metrics ML.EVALUATE returns, by model type.

https://cloud.google.com/bigquery/docs/evaluate-overview and
https://cloud.google.com/bigquery/docs/reference/standard-sql/bigqueryml-syntax-evaluate#output
"""

_CLASSIFICATION = ("precision", "recall", "accuracy", "f1_score", "log_loss", "roc_auc")
_REGRESSION = (
    "mean_absolute_error",
    "mean_squared_error",
    "mean_squared_log_error",
    "median_absolute_error",
    "r2_score",
    "explained_variance",
)
_FAMILIES = ("BOOSTED_TREE", "RANDOM_FOREST", "DNN", "DNN_LINEAR_COMBINED", "AUTOML")
_TYPES = {
    "LOGISTIC_REG": _CLASSIFICATION,
    "LINEAR_REG": _REGRESSION,
    "KMEANS": ("davies_bouldin_index", "mean_squared_distance"),
    "PCA": ("total_explained_variance_ratio",),
    "AUTOENCODER": ("mean_absolute_error", "mean_squared_error", "mean_squared_log_error"),
    **{f"{name}_CLASSIFIER": _CLASSIFICATION for name in _FAMILIES},
    **{f"{name}_REGRESSOR": _REGRESSION for name in _FAMILIES},
}


def metrics_of(model_type: str) -> tuple[str, ...]:
    """The metrics of a model type; none of a type whose metrics depend on more than the type."""
    return _TYPES.get(model_type.upper(), ())
