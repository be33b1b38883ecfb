"""What training finds out about a model, as the REST API describes it: columns, and the one training run.

https://cloud.google.com/bigquery/docs/reference/rest/v2/models
"""

from collections.abc import Mapping
from datetime import UTC, datetime
from math import isfinite
from typing import Any

import pyarrow as pa

from local_bigquery.ml.features.transform import Transform
from local_bigquery.ml.model import Classifying, Clustering, Explainable, Model
from local_bigquery.run.scratch import Schema, table_field

Json = dict[str, Any]

_BINARY = 2
_DEFAULT_THRESHOLD = 0.5

# Names that are more than the option's own in camel case.
_OPTION_NAMES = {
    "class_weights": "labelClassWeights",
    "data_split_col": "dataSplitColumn",
    "input_label_cols": "inputLabelColumns",
    "instance_weight_col": "instanceWeightColumn",
    "kmeans_init_col": "kmeansInitializationColumn",
    "kmeans_init_method": "kmeansInitializationMethod",
    "l1_reg": "l1Regularization",
    "l2_reg": "l2Regularization",
    "ls_init_learn_rate": "initialLearnRate",
    "min_rel_progress": "minRelativeProgress",
    "optimize_strategy": "optimizationStrategy",
}
_OPTION_VALUES = {
    ("data_split_method", "SEQ"): "SEQUENTIAL",
    ("kmeans_init_method", "KMEANS++"): "KMEANS_PLUS_PLUS",
    ("optimize_strategy", "AUTO_STRATEGY"): "OPTIMIZATION_STRATEGY_UNSPECIFIED",
}
_LOSSES = {"LINEAR_REG": "MEAN_SQUARED_LOSS", "LOGISTIC_REG": "MEAN_LOG_LOSS"}
_CLASSIFICATION_METRICS = {
    "precision": "precision",
    "recall": "recall",
    "accuracy": "accuracy",
    "f1_score": "f1Score",
    "log_loss": "logLoss",
    "roc_auc": "rocAuc",
}
_REGRESSION_METRICS = {
    "mean_absolute_error": "meanAbsoluteError",
    "mean_squared_error": "meanSquaredError",
    "mean_squared_log_error": "meanSquaredLogError",
    "median_absolute_error": "medianAbsoluteError",
    "r2_score": "rSquared",
}
_CLUSTERING_METRICS = {"davies_bouldin_index": "daviesBouldinIndex", "mean_squared_distance": "meanSquaredDistance"}
_ITERATION = {"loss": "trainingLoss", "eval_loss": "evalLoss", "learning_rate": "learnRate"}
_TYPE_KINDS = {"INTEGER": "INT64", "FLOAT": "FLOAT64", "BOOLEAN": "BOOL", "RECORD": "STRUCT"}


def describe(model: Model, options: Mapping[str, Any], columns: Schema, started: float) -> Json:
    """Return the part of a model's resource that training determines.

    Args:
        model: The model.
        options: The complete options it was trained with.
        columns: The columns of the training query.
        started: When the training began, in seconds since the epoch.
    """
    features = {name.lower() for name in model.feature_info["input"].to_pylist()}
    label = model.label.lower() if model.label is not None else None
    return {
        "featureColumns": [standard_sql_field(column) for column in columns if column["name"].lower() in features],
        "labelColumns": [standard_sql_field(column) for column in columns if column["name"].lower() == label],
        "trainingRuns": [_training_run(model, options, started)],
    }


def transform_columns(transform: Transform, rows: pa.Table) -> list[Json]:
    """Return the `transformColumns` of a model's resource.

    Args:
        transform: The TRANSFORM clause.
        rows: What it makes of the training query.
    """
    return [
        {**standard_sql_field(table_field(rows.schema.field(name))), "transformSql": sql}
        for name, sql in transform.expressions.items()
    ]


def ml_statistics(model_type: str, options: Mapping[str, Any], description: Json | None = None) -> Json:
    """Return the `mlStatistics` of the job that trains or has trained a model.

    Args:
        model_type: The model's type as the REST API calls it.
        options: The complete options.
        description: What `describe` returned; None while the training goes on.
    """
    statistics: Json = {"modelType": model_type, "trainingType": "SINGLE_TRAINING"}
    if options.get("max_iterations") is not None:
        statistics["maxIterations"] = str(options["max_iterations"])
    if description is not None:
        statistics["iterationResults"] = description["trainingRuns"][0]["results"]
    return statistics


def standard_sql_field(column: Mapping[str, Any]) -> Json:
    """Return a TableFieldSchema as a StandardSqlField."""
    return {"name": column["name"], "type": _data_type(column)}


def _data_type(column: Mapping[str, Any]) -> Json:
    if column.get("mode") == "REPEATED":
        return {"typeKind": "ARRAY", "arrayElementType": _data_type({**column, "mode": "NULLABLE"})}
    kind = _TYPE_KINDS.get(column["type"], column["type"])
    if kind == "STRUCT":
        return {"typeKind": kind, "structType": {"fields": [standard_sql_field(field) for field in column["fields"]]}}
    return {"typeKind": kind}


def _training_run(model: Model, options: Mapping[str, Any], started: float) -> Json:
    run: Json = {
        "startTime": datetime.fromtimestamp(started, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        "trainingStartTime": str(int(started * 1000)),
        "trainingOptions": _training_options(model, options),
        "results": [_iteration(row) for row in model.training_info.to_pylist()],
        "evaluationMetrics": _evaluation_metrics(model),
    }
    if isinstance(model, Explainable):
        if model.global_explanation is not None:
            run["modelLevelGlobalExplanation"] = {"explanations": _explanations(model.global_explanation.to_pylist())}
        if model.class_explanation is not None:
            run["classLevelGlobalExplanations"] = _class_explanations(model.class_explanation)
    return run


def _training_options(model: Model, options: Mapping[str, Any]) -> Json:
    given = {name: value for name, value in options.items() if value is not None}
    if model.label is not None:
        given["input_label_cols"] = [model.label]
    training_options = {_camel_case(name): _option_value(name, value) for name, value in given.items()}
    if model.model_type in _LOSSES:
        training_options["lossType"] = _LOSSES[model.model_type]
    return training_options


def _camel_case(option: str) -> str:
    first, *others = option.split("_")
    return _OPTION_NAMES.get(option) or first + "".join(map(str.capitalize, others))


def _option_value(option: str, value: Any) -> Any:
    if isinstance(value, dict):
        return {str(label): weight for label, weight in value.items()}
    if isinstance(value, str):
        return _OPTION_VALUES.get((option, value), value)
    return _int64(value) if isinstance(value, int) and not isinstance(value, bool) else value


def _int64(value: int) -> str:
    return str(value)  # JSON numbers are doubles


def _iteration(row: Json) -> Json:
    """Return a row of ML.TRAINING_INFO as an IterationResult."""
    result: Json = {"index": row["iteration"]}
    if row.get("duration_ms") is not None:
        result["durationMs"] = _int64(row["duration_ms"])
    for column, name in _ITERATION.items():
        if _is_in_json(row.get(column)):
            result[name] = row[column]
    clusters = row.get("cluster_info")
    if clusters:
        result["clusterInfos"] = [
            {
                "centroidId": _int64(cluster["centroid_id"]),
                "clusterRadius": cluster["cluster_radius"],
                "clusterSize": _int64(cluster["cluster_size"]),
            }
            for cluster in clusters
        ]
    return result


def _evaluation_metrics(model: Model) -> Json:
    (row,) = model.evaluate(None).to_pylist()
    if isinstance(model, Clustering):
        return {"clusteringMetrics": _renamed(row, _CLUSTERING_METRICS)}
    if not isinstance(model, Classifying):
        return {"regressionMetrics": _renamed(row, _REGRESSION_METRICS)}
    aggregate = _renamed(row, _CLASSIFICATION_METRICS)
    labels = [str(label) for label in model.class_labels.to_pylist()]
    if len(labels) > _BINARY:
        return {"multiClassClassificationMetrics": {"aggregateClassificationMetrics": aggregate}}
    return {
        "binaryClassificationMetrics": {
            "aggregateClassificationMetrics": {**aggregate, "threshold": _DEFAULT_THRESHOLD},
            "negativeLabel": labels[0],
            "positiveLabel": labels[1],
        }
    }


def _renamed(row: Json, names: Mapping[str, str]) -> Json:
    return {name: row[column] for column, name in names.items() if _is_in_json(row[column])}


def _is_in_json(value: float | None) -> bool:
    """Whether a number is one that JSON has: no NULL, NaN (such as an undefined precision) or infinity."""
    return value is not None and isfinite(value)


def _explanations(rows: list[Json]) -> list[Json]:
    return [{"featureName": row["feature"], "attribution": row["attribution"]} for row in rows]


def _class_explanations(table: Any) -> list[Json]:
    by_class: dict[str, list[Json]] = {}
    label = table.column_names[0]
    for row in table.to_pylist():
        by_class.setdefault(str(row[label]), []).append(row)
    return [{"classLabel": name, "explanations": _explanations(rows)} for name, rows in by_class.items()]
