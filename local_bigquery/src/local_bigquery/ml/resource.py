"""The fields of a model's REST resource that its training determines: its columns and its one training run.

https://cloud.google.com/bigquery/docs/reference/rest/v2/models
"""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa

from local_bigquery.ml.features.transform import Transform
from local_bigquery.ml.metrics import is_in_json
from local_bigquery.ml.model import Explainable, Model
from local_bigquery.schema import Schema, arrow_field, standard_sql_field

Json = dict[str, Any]

# The options whose name in TrainingOptions is not their name in camel case.
_OPTION_NAMES = {
    "class_weights": "labelClassWeights",
    "data_split_col": "dataSplitColumn",
    "input_label_cols": "inputLabelColumns",
    "instance_weight_col": "instanceWeightColumn",
    "kmeans_init_col": "kmeansInitializationColumn",
    "kmeans_init_method": "kmeansInitializationMethod",
    "item_col": "itemColumn",
    "l1_reg": "l1Regularization",
    "l2_reg": "l2Regularization",
    "ls_init_learn_rate": "initialLearnRate",
    "min_rel_progress": "minRelativeProgress",
    "optimize_strategy": "optimizationStrategy",
    "time_series_data_col": "timeSeriesDataColumn",
    "time_series_id_col": "timeSeriesIdColumns",
    "time_series_timestamp_col": "timeSeriesTimestampColumn",
    "user_col": "userColumn",
}
_NOT_IN_REST = {"rating_col"}  # the label column says it
_OPTION_VALUES = {
    ("data_split_method", "SEQ"): "SEQUENTIAL",
    ("kmeans_init_method", "KMEANS++"): "KMEANS_PLUS_PLUS",
    ("optimize_strategy", "AUTO_STRATEGY"): "OPTIMIZATION_STRATEGY_UNSPECIFIED",
}
_LOSSES = {"LINEAR_REG": "MEAN_SQUARED_LOSS", "LOGISTIC_REG": "MEAN_LOG_LOSS"}
_ITERATION = {"loss": "trainingLoss", "eval_loss": "evalLoss", "learning_rate": "learnRate"}


def describe(model: Model, options: Mapping[str, Any], columns: Schema, started: float) -> Json:
    """Return the fields of a model's resource that its training determines.

    Args:
        model: the model.
        options: the complete options of the training.
        columns: the columns of the training query.
        started: the start of the training, in seconds since the epoch.
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
        transform: the TRANSFORM clause.
        rows: the output of the clause for the training query.
    """
    return [
        {**standard_sql_field(arrow_field(rows.schema.field(name))), "transformSql": sql}
        for name, sql in transform.expressions.items()
    ]


def ml_statistics(model_type: str, options: Mapping[str, Any], description: Json | None = None) -> Json:
    """Return the `mlStatistics` of the job that trains a model.

    Args:
        model_type: the `modelType` of the REST API.
        options: the complete options.
        description: the result of `describe`; None while the training runs.
    """
    statistics: Json = {"modelType": model_type, "trainingType": "SINGLE_TRAINING"}
    if options.get("max_iterations") is not None:
        statistics["maxIterations"] = str(options["max_iterations"])
    if description is not None:
        statistics["iterationResults"] = description["trainingRuns"][0]["results"]
    return statistics


def _training_run(model: Model, options: Mapping[str, Any], started: float) -> Json:
    run: Json = {
        "startTime": datetime.fromtimestamp(started, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        "trainingStartTime": str(int(started * 1000)),
        "trainingOptions": _training_options(model, options),
        "results": [_iteration(row) for row in model.training_info.to_pylist()],
        "evaluationMetrics": model.rest_metrics(),
    }
    if isinstance(model, Explainable):
        if model.global_explanation is not None:
            run["modelLevelGlobalExplanation"] = {"explanations": _explanations(model.global_explanation.to_pylist())}
        if model.class_explanation is not None:
            run["classLevelGlobalExplanations"] = _class_explanations(model.class_explanation)
    return run


def _training_options(model: Model, options: Mapping[str, Any]) -> Json:
    given = {name: value for name, value in options.items() if value is not None and name not in _NOT_IN_REST}
    if model.label is not None:
        given["input_label_cols"] = [model.label]
    if "non_seasonal_order" in given:
        given["non_seasonal_order"] = dict(zip("pdq", given["non_seasonal_order"], strict=True))
    training_options = {option_name(name): _option_value(name, value) for name, value in given.items()}
    if model.model_type in _LOSSES:
        training_options["lossType"] = _LOSSES[model.model_type]
    return training_options


def option_name(option: str) -> str:
    """Return the name of an option in TrainingOptions."""
    first, *others = option.split("_")
    return _OPTION_NAMES.get(option) or first + "".join(map(str.capitalize, others))


def _option_value(option: str, value: Any) -> Any:
    if isinstance(value, list):
        return [_option_value(option, item) for item in value]
    if isinstance(value, dict):
        return {str(label): _option_value(option, weight) for label, weight in value.items()}
    if isinstance(value, str):
        return _OPTION_VALUES.get((option, value), value)
    return _int64(value) if isinstance(value, int) and not isinstance(value, bool) else value


def _int64(value: int) -> str:
    return str(value)  # numbers of JSON are doubles, which cannot express every INT64


def _iteration(row: Json) -> Json:
    """Return a row of ML.TRAINING_INFO as an IterationResult."""
    result: Json = {"index": row["iteration"]}
    if row.get("duration_ms") is not None:
        result["durationMs"] = _int64(row["duration_ms"])
    for column, name in _ITERATION.items():
        if is_in_json(row.get(column)):
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


def _explanations(rows: list[Json]) -> list[Json]:
    return [{"featureName": row["feature"], "attribution": row["attribution"]} for row in rows]


def _class_explanations(table: pa.Table) -> list[Json]:
    by_class: dict[str, list[Json]] = {}
    label = table.column_names[0]
    for row in table.to_pylist():
        by_class.setdefault(str(row[label]), []).append(row)
    return [{"classLabel": name, "explanations": _explanations(rows)} for name, rows in by_class.items()]
