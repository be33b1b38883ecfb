"""The options of CREATE MODEL: mistakes that make a training fail.

Source: https://cloud.google.com/bigquery/docs/reference/standard-sql/bigqueryml-syntax-create
"""

from collections.abc import Sequence
from difflib import get_close_matches

from local_bigquery.analyzer import Analysis, Statement
from refresh_factory.checks import METRICS

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
