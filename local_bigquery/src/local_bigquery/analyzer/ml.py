"""BigQuery ML for the analyzer: the columns that ML functions return, by the type and the training query of the model.

Source: https://cloud.google.com/bigquery/docs/reference/standard-sql/, the pages bigqueryml-syntax-FUNCTION (section
"Output") and bigqueryml-syntax-create-MODEL.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from local_bigquery.analyzer.analysis import Analysis
from local_bigquery.analyzer.catalog import Output
from local_bigquery.analyzer.messages import GoogleSqlError
from local_bigquery.analyzer.syntax import Statement, TableFunctionCall
from local_bigquery.analyzer.types import Type

Columns = dict[str, Type]

_BOOL, _FLOAT, _INT, _STRING, _TIMESTAMP = (Type(kind) for kind in ("BOOL", "FLOAT64", "INT64", "STRING", "TIMESTAMP"))

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
METRICS = {
    "LOGISTIC_REG": _CLASSIFICATION,
    "LINEAR_REG": _REGRESSION,
    "KMEANS": ("davies_bouldin_index", "mean_squared_distance"),
    "PCA": ("total_explained_variance_ratio",),
    "AUTOENCODER": ("mean_absolute_error", "mean_squared_error", "mean_squared_log_error"),
    **{f"{name}_CLASSIFIER": _CLASSIFICATION for name in _FAMILIES},
    **{f"{name}_REGRESSOR": _REGRESSION for name in _FAMILIES},
}
"""The metrics that ML.EVALUATE returns, by model type, for types whose metrics depend on the type alone.

Source: https://cloud.google.com/bigquery/docs/reference/standard-sql/bigqueryml-syntax-evaluate#output
"""

FEEDBACK_METRICS = {
    "EXPLICIT": _REGRESSION,
    "IMPLICIT": (
        "mean_average_precision",
        "mean_squared_error",
        "normalized_discounted_cumulative_gain",
        "average_rank",
    ),
}
"""The metrics of MATRIX_FACTORIZATION, by feedback_type."""

_ARIMA = ("ARIMA", "ARIMA_PLUS")
_ARIMA_ERRORS = (
    "mean_absolute_error",
    "mean_squared_error",
    "root_mean_squared_error",
    "mean_absolute_percentage_error",
    "symmetric_mean_absolute_percentage_error",
)

_LABELLED = tuple(name for name, metrics in METRICS.items() if "roc_auc" in metrics or "r2_score" in metrics)
_NOT_FEATURES = ("data_split_col", "instance_weight_col", "kmeans_init_col")
"""Options that name a column of the training query that is no feature."""

_SETTINGS = {
    "ML.PREDICT": ("threshold", "keep_original_columns", "trial_id"),
    "ML.EXPLAIN_PREDICT": (
        "top_k_features",
        "threshold",
        "integrated_gradients_num_steps",
        "approx_feature_contrib",
    ),
    "ML.EVALUATE": ("threshold", "trial_id", "perform_aggregation", "horizon", "confidence_level"),
    "ML.CENTROIDS": ("standardize",),
    "ML.WEIGHTS": ("standardize",),
    "ML.GLOBAL_EXPLAIN": ("class_level_explain",),
    "ML.ARIMA_EVALUATE": ("show_all_candidate_models",),
    "ML.FORECAST": ("horizon", "confidence_level"),
    "ML.RECOMMEND": ("trial_id",),
    "ML.DETECT_ANOMALIES": ("contamination", "anomaly_prob_threshold"),
}
_FIXED: dict[str, Columns] = {
    "ML.CENTROIDS": {
        "centroid_id": _INT,
        "feature": _STRING,
        "numerical_value": _FLOAT,
        "categorical_value": Type.array(Type.struct(category=_STRING, value=_FLOAT)),
    },
    "ML.WEIGHTS": {
        "processed_input": _STRING,
        "weight": _FLOAT,
        "category_weights": Type.array(Type.struct(category=_STRING, weight=_FLOAT)),
    },
    "ML.FEATURE_IMPORTANCE": {
        "feature": _STRING,
        **dict.fromkeys(("importance_weight", "importance_gain", "importance_cover"), _FLOAT),
    },
    "ML.FEATURE_INFO": {
        "input": _STRING,
        **dict.fromkeys(("min", "max", "mean", "median", "stddev"), _FLOAT),
        **dict.fromkeys(("category_count", "null_count", "dimension"), _INT),
    },
    "ML.TRAINING_INFO": {
        **dict.fromkeys(("training_run", "iteration"), _INT),
        **dict.fromkeys(("loss", "eval_loss", "learning_rate"), _FLOAT),
        "duration_ms": _INT,
    },
    "ML.ROC_CURVE": {
        **dict.fromkeys(("threshold", "recall", "false_positive_rate"), _FLOAT),
        **dict.fromkeys(("true_positives", "false_positives", "true_negatives", "false_negatives"), _INT),
    },
}
_COMPONENTS: dict[str, Columns] = {
    "ML.PRINCIPAL_COMPONENTS": {
        "principal_component_id": _INT,
        **{name: kind for name, kind in _FIXED["ML.CENTROIDS"].items() if name != "centroid_id"},
    },
    "ML.PRINCIPAL_COMPONENT_INFO": {
        "principal_component_id": _INT,
        **dict.fromkeys(
            ("eigenvalue", "explained_variance_ratio", "cumulative_explained_variance_ratio"),
            _FLOAT,
        ),
    },
}
_FACTORS = {
    "processed_input": _STRING,
    "feature": _STRING,
    "factor_weights": Type.array(Type.struct(factor=_INT, weight=_FLOAT)),
    "intercept": _FLOAT,
}
_SERIES: dict[str, Columns] = {
    "ML.ARIMA_COEFFICIENTS": {
        **dict.fromkeys(("ar_coefficients", "ma_coefficients"), Type.array(_FLOAT)),
        "intercept_or_drift": _FLOAT,
    },
    "ML.ARIMA_EVALUATE": {
        **dict.fromkeys(("non_seasonal_p", "non_seasonal_d", "non_seasonal_q"), _INT),
        "has_drift": _BOOL,
        **dict.fromkeys(("log_likelihood", "AIC", "variance"), _FLOAT),
        "seasonal_periods": Type.array(_STRING),
        **dict.fromkeys(("has_holiday_effect", "has_spikes_and_dips", "has_step_changes"), _BOOL),
        "error_message": _STRING,
    },
    "ML.FORECAST": {
        "forecast_timestamp": _TIMESTAMP,
        **dict.fromkeys(
            (
                "forecast_value",
                "standard_error",
                "confidence_level",
                "prediction_interval_lower_bound",
                "prediction_interval_upper_bound",
                "confidence_interval_lower_bound",
                "confidence_interval_upper_bound",
            ),
            _FLOAT,
        ),
    },
}
"""The columns of functions of ARIMA_PLUS, after the ids of the series."""

_NEEDS_INPUT = ("ML.PREDICT", "ML.EXPLAIN_PREDICT")

_VECTOR = Type.array(Type.struct(index=_INT, value=_FLOAT))
FUNCTIONS = {
    **dict.fromkeys(
        (
            "ML.MAX_ABS_SCALER",
            "ML.MIN_MAX_SCALER",
            "ML.ROBUST_SCALER",
            "ML.STANDARD_SCALER",
            "ML.IMPUTER",
            "ML.DISTANCE",
            "ML.LP_NORM",
        ),
        _FLOAT,
    ),
    **dict.fromkeys(("ML.LABEL_ENCODER", "ML.HASH_BUCKETIZE"), _INT),
    **dict.fromkeys(("ML.BUCKETIZE", "ML.QUANTILE_BUCKETIZE"), _STRING),
    **dict.fromkeys(("ML.ONE_HOT_ENCODER", "ML.MULTI_HOT_ENCODER", "ML.TF_IDF", "ML.BAG_OF_WORDS"), _VECTOR),
    **dict.fromkeys(("ML.FEATURE_CROSS", "ML.POLYNOMIAL_EXPAND"), Type.struct(value=_FLOAT)),
    "ML.NGRAMS": Type.array(_STRING),
    "ML.NORMALIZER": Type.array(_FLOAT),
    **dict.fromkeys(("HPARAM_RANGE", "HPARAM_CANDIDATES"), _STRING),
}
"""The scalar functions of BigQuery ML, and the types that they return.

Source: https://cloud.google.com/bigquery/docs/manual-preprocessing
"""


@dataclass(frozen=True)
class Model:
    """A BigQuery model, as its CREATE MODEL describes it.

    Attributes:
        name: the parts of its name.
        type: the value of model_type in capitals.
        options: the options that are literals, by name in lower case.
        features: the columns that predictions need, with their types.
        labels: the label columns, with their types.
    """

    name: tuple[str, ...]
    type: str
    options: Mapping[str, Any]
    features: Mapping[str, Type]
    labels: Mapping[str, Type]

    @classmethod
    def of(cls, statement: Statement, trained: Analysis) -> "Model":
        """Return the model that a CREATE MODEL makes."""
        options = trained.options
        named = options.get("input_label_cols")
        # https://cloud.google.com/bigquery/docs/reference/standard-sql/bigqueryml-syntax-create#input_label_cols
        labels = [name.lower() for name in named] if isinstance(named, list) else ["label"]
        others = {str(options[name]).lower() for name in _NOT_FEATURES if name in options}
        used = trained.transform_inputs
        model_type = str(options.get("model_type", "")).upper()
        has_label = model_type in _LABELLED
        columns = dict(trained.columns)
        return cls(
            name=statement.target,
            type=model_type,
            options=options,
            features={
                name: kind
                for name, kind in columns.items()
                if name.lower() not in others
                and not (has_label and name.lower() in labels)
                and (used is None or name in used)
            },
            labels={name: kind for name, kind in columns.items() if has_label and name.lower() in labels},
        )

    def output(self, call: TableFunctionCall) -> Output | None:
        """Return the columns of a call with this model; None if they are not known.

        Raises:
            GoogleSqlError: BigQuery would refuse the call.
        """
        allowed = _SETTINGS.get(call.function)
        for name, offset in call.settings.items():
            if allowed is not None and name not in allowed:
                message = f"{call.function} has no setting {name}; there are {', '.join(allowed)}"
                raise GoogleSqlError(message, offset)
        if call.function in _NEEDS_INPUT and not call.has_input:
            raise GoogleSqlError(f"{call.function} needs a query or TABLE after the model", call.offset)
        if call.function == "ML.WEIGHTS" and self.type == "MATRIX_FACTORIZATION":
            return Output(_FACTORS)
        if call.function in _FIXED:
            return Output(_FIXED[call.function])
        columns = self._columns(call)
        if columns is None:
            return None
        # https://cloud.google.com/bigquery/docs/reference/standard-sql/bigqueryml-syntax-predict#output
        keeping = (*_NEEDS_INPUT, "ML.DETECT_ANOMALIES", "ML.RECOMMEND")
        return Output(columns, keeps_input=call.function in keeping and call.has_input)

    def _columns(self, call: TableFunctionCall) -> Columns | None:
        columns: Columns | None = None
        match call.function:
            case "ML.PREDICT":
                columns = self._predicted()
            case "ML.EXPLAIN_PREDICT":
                columns = self._explained(call)
            case "ML.EVALUATE":
                columns = self._evaluated(call)
            case "ML.DETECT_ANOMALIES" if self.type == "KMEANS":
                columns = {"is_anomaly": _BOOL, "normalized_distance": _FLOAT, "CENTROID_ID": _INT}
            case "ML.GLOBAL_EXPLAIN":
                by_class = {"class_name": _STRING} if "class_level_explain" in call.settings else {}
                columns = {"feature": _STRING, "attribution": _FLOAT, **by_class}
            case "ML.RECOMMEND" if self.type == "MATRIX_FACTORIZATION":
                columns = self._recommended(call)
            case function if self.type == "PCA" and function in _COMPONENTS:
                columns = _COMPONENTS[function]
            case function if self.type in _ARIMA and function in _SERIES:
                columns = {**self._ids(), **_SERIES[function]}
        return columns

    def _evaluated(self, call: TableFunctionCall) -> Columns | None:
        metrics = METRICS.get(self.type, ())
        if self.type == "MATRIX_FACTORIZATION":
            metrics = FEEDBACK_METRICS["IMPLICIT" if self._is_implicit else "EXPLICIT"]
        if self.type in _ARIMA and not call.has_input:
            return {**self._ids(), **_SERIES["ML.ARIMA_EVALUATE"]}
        if self.type in _ARIMA and "perform_aggregation" not in call.settings:
            return {**self._ids(), **dict.fromkeys(_ARIMA_ERRORS, _FLOAT)}
        return dict.fromkeys(metrics, _FLOAT) or None

    def _predicted(self) -> Columns | None:
        if self.type in _LABELLED:
            columns: Columns = {}
            for label, kind in self.labels.items():
                if "roc_auc" not in METRICS[self.type]:
                    columns[f"predicted_{label}"] = _FLOAT
                    continue
                columns[f"predicted_{label}"] = kind
                columns[f"predicted_{label}_probs"] = Type.array(Type.struct(label=kind, prob=_FLOAT))
            return columns
        if self.type == "KMEANS":
            distances = Type.array(Type.struct(CENTROID_ID=_INT, DISTANCE=_FLOAT))
            return {"CENTROID_ID": _INT, "NEAREST_CENTROIDS_DISTANCE": distances}
        components = self.options.get("num_principal_components")
        if self.type == "PCA" and isinstance(components, int):
            return {f"principal_component_{number}": _FLOAT for number in range(1, components + 1)}
        return None

    def _explained(self, call: TableFunctionCall) -> Columns:
        if self.type not in _LABELLED:
            message = f"ML.EXPLAIN_PREDICT does not explain {self.type}; it takes {', '.join(_LABELLED)}"
            raise GoogleSqlError(message, call.offset)
        is_classifier = "roc_auc" in METRICS[self.type]
        return {
            **{f"predicted_{label}": kind if is_classifier else _FLOAT for label, kind in self.labels.items()},
            **({"probability": _FLOAT} if is_classifier else {}),
            "top_feature_attributions": Type.array(Type.struct(feature=_STRING, attribution=_FLOAT)),
            **dict.fromkeys(("baseline_prediction_value", "prediction_value", "approximation_error"), _FLOAT),
        }

    @property
    def _is_implicit(self) -> bool:
        return str(self.options.get("feedback_type", "")).upper() == "IMPLICIT"

    def _recommended(self, call: TableFunctionCall) -> Columns | None:
        """Return the columns that are added to the input, or all columns if there is no input."""
        rating, user, item = (str(self.options.get(f"{name}_col", name)) for name in ("rating", "user", "item"))
        kinds = {name.lower(): kind for name, kind in self.features.items()}
        given = {name.lower() for name in call.input_names}
        unknown = call.has_input and (not given or {"*", ""} & given)
        if unknown or user.lower() not in kinds or item.lower() not in kinds:
            return None
        ids = {name: kinds[name.lower()] for name in (user, item) if name.lower() not in given}
        return {f"predicted_{rating}{'_confidence' if self._is_implicit else ''}": _FLOAT, **ids}

    def _ids(self) -> Columns:
        named = self.options.get("time_series_id_col", [])
        ids = {name.lower() for name in ([named] if isinstance(named, str) else named)}
        return {name: kind for name, kind in self.features.items() if name.lower() in ids}
