"""BigQuery ML for the analyzer: the columns that ML functions return, by the type and the training query of the model.

Source: https://cloud.google.com/bigquery/docs/reference/standard-sql/, the pages bigqueryml-syntax-FUNCTION (section
"Output") and bigqueryml-syntax-create-MODEL.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any

from local_bigquery.analyzer import Analysis, GoogleSqlError, Output, Statement, TableFunctionCall, Type
from refresh_factory.checks import METRICS

Columns = dict[str, Type]

_BOOL, _FLOAT, _INT, _STRING, _TIMESTAMP = (Type(kind) for kind in ("BOOL", "FLOAT64", "INT64", "STRING", "TIMESTAMP"))

MODEL_TYPES = (
    *METRICS,
    "ARIMA",
    "ARIMA_PLUS",
    "ARIMA_PLUS_XREG",
    "CONTRIBUTION_ANALYSIS",
    "MATRIX_FACTORIZATION",
    "ONNX",
    "TENSORFLOW",
    "TENSORFLOW_LITE",
    "TRANSFORM_ONLY",
    "XGBOOST",
)
"""The values of model_type."""

_OPTIONS = frozenset(
    """
    activation_fn adjust_step_changes approx_global_feature_contrib auto_arima auto_arima_max_order
    auto_arima_min_order auto_class_weights batch_size booster_type budget_hours calculate_p_values
    category_encoding_method class_weights clean_spikes_and_dips colsample_bylevel colsample_bynode colsample_bytree
    contribution_metric dart_normalize_type data_frequency data_split_col data_split_eval_fraction data_split_method
    data_split_test_fraction decompose_time_series description dimension_id_cols distance_type dropout early_stop
    enable_global_explain endpoint expiration_timestamp feedback_type fit_intercept forecast_limit_lower_bound
    forecast_limit_upper_bound friendly_name hidden_units hierarchical_time_series_cols holiday_region horizon
    hparam_tuning_algorithm hparam_tuning_objectives include_drift input_label_cols instance_weight_col
    integrated_gradients_num_steps is_test_col item_col kmeans_init_col kmeans_init_method kms_key_name l1_reg
    l1_reg_activation l2_reg labels learn_rate learn_rate_strategy ls_init_learn_rate max_iterations
    max_parallel_trials max_time_series_length max_tree_depth min_apriori_support min_rel_progress min_split_loss
    min_time_series_length min_tree_child_weight model_path model_registry model_type non_seasonal_order
    num_clusters num_factors num_parallel_tree num_principal_components num_trials optimization_objective
    optimize_strategy optimizer pca_explained_variance_ratio pca_solver pruning_method rating_col scale_features
    seasonalities standardize_features subsample tf_version time_series_data_col time_series_id_col
    time_series_length_fraction time_series_timestamp_col top_k_insights_by_apriori_support tree_method
    trend_smoothing_window_size user_col vertex_ai_model_id vertex_ai_model_version_aliases wals_alpha warm_start
    xgboost_version
    """.split()  # noqa: SIM905  a hundred lines as a list
)
"""The documented options of CREATE MODEL, of all types."""

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
    "ML.FORECAST": ("horizon", "confidence_level"),
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
        """The model that a CREATE MODEL makes."""
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
        """The columns that a call with this model returns; None if they are not known.

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
        if call.function in _FIXED:
            return Output(_FIXED[call.function])
        columns = self._columns(call)
        if columns is None:
            return None
        # https://cloud.google.com/bigquery/docs/reference/standard-sql/bigqueryml-syntax-predict#output
        return Output(columns, keeps_input=call.function in (*_NEEDS_INPUT, "ML.DETECT_ANOMALIES") and call.has_input)

    def _columns(self, call: TableFunctionCall) -> Columns | None:
        columns: Columns | None = None
        match call.function:
            case "ML.PREDICT":
                columns = self._predicted()
            case "ML.EXPLAIN_PREDICT":
                columns = self._explained(call)
            case "ML.EVALUATE" if self.type in METRICS:
                columns = dict.fromkeys(METRICS[self.type], _FLOAT)
            case "ML.DETECT_ANOMALIES" if self.type == "KMEANS":
                columns = {"is_anomaly": _BOOL, "normalized_distance": _FLOAT, "CENTROID_ID": _INT}
            case "ML.GLOBAL_EXPLAIN":
                by_class = {"class_name": _STRING} if "class_level_explain" in call.settings else {}
                columns = {"feature": _STRING, "attribution": _FLOAT, **by_class}
            case "ML.RECOMMEND" if self.type == "MATRIX_FACTORIZATION":
                columns = self._recommended()
            case "ML.FORECAST" if self.type in ("ARIMA", "ARIMA_PLUS"):
                columns = self._forecast()
        return columns

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

    def _recommended(self) -> Columns | None:
        rating, user, item = (self.options.get(f"{name}_col", name) for name in ("rating", "user", "item"))
        confidence = "_confidence" if str(self.options.get("feedback_type", "")).upper() == "IMPLICIT" else ""
        kinds = {name.lower(): kind for name, kind in self.features.items()}
        if str(user).lower() not in kinds or str(item).lower() not in kinds:
            return None
        return {
            f"predicted_{rating}{confidence}": _FLOAT,
            str(user): kinds[str(user).lower()],
            str(item): kinds[str(item).lower()],
        }

    def _forecast(self) -> Columns:
        named = self.options.get("time_series_id_col", [])
        ids = {name.lower() for name in ([named] if isinstance(named, str) else named)}
        return {
            **{name: kind for name, kind in self.features.items() if name.lower() in ids},
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
        }


def option_problems(statement: Statement, trained: Analysis) -> list[tuple[int, str, bool]]:
    """The mistakes in the options of a CREATE MODEL: offset, message, and True if it is only a warning."""
    found: list[tuple[int, str, bool]] = []
    given, options = statement.option_offsets, trained.options
    for name, offset in given.items():
        if name not in _OPTIONS:
            close = get_close_matches(name, _OPTIONS, 1, 0.75)
            hint = f"did you mean {close[0]}?" if close else "it is none of the documented ones"
            found.append((offset, f"{name}: CREATE MODEL has no such option; {hint}", not close))
    if "model_type" not in given:
        message = "no model_type in OPTIONS; write one, such as model_type = 'LOGISTIC_REG'"
        found.append((statement.offset, message, False))
    model_type = options.get("model_type")
    if isinstance(model_type, str) and model_type.upper() not in MODEL_TYPES:
        message = f"model_type: {model_type!r} is no type of BigQuery ML; {_similar(model_type.upper(), MODEL_TYPES)}"
        found.append((given["model_type"], message, False))
    labels = options.get("input_label_cols")
    if isinstance(labels, str):
        found.append((given["input_label_cols"], f"input_label_cols: write a list, [{labels!r}]", False))
    columns = [name.lower() for name, _ in trained.columns]
    for label in labels if isinstance(labels, list) and columns else ():
        if label.lower() not in columns:
            message = f"input_label_cols: the query has no column {label}; there are {', '.join(columns)}"
            found.append((given["input_label_cols"], message, False))
    return found


def _similar(name: str, names: Sequence[str]) -> str:
    close = get_close_matches(name, names, 1, 0.75)
    return f"did you mean {close[0]}?" if close else f"there are {', '.join(sorted(names))}"
