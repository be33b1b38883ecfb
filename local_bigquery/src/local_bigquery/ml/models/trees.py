"""The model types BOOSTED_TREE_CLASSIFIER/_REGRESSOR and RANDOM_FOREST_CLASSIFIER/_REGRESSOR, by XGBoost.

A random forest is one round of boosting with many parallel trees and without shrinkage.
https://cloud.google.com/bigquery/docs/reference/standard-sql/bigqueryml-syntax-create-boosted-tree
https://cloud.google.com/bigquery/docs/reference/standard-sql/bigqueryml-syntax-create-random-forest
"""

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import xgboost

from local_bigquery.errors import invalid_query
from local_bigquery.ml.features.encoding import LABEL, ONE_HOT, TARGET, FeatureEncoder, Matrix, as_float64, is_numeric
from local_bigquery.ml.features.statistics import describe
from local_bigquery.ml.features.training_data import SPLIT_OPTIONS, TrainingData, find_column, prepare
from local_bigquery.ml.model import Model, ModelType, Vector
from local_bigquery.ml.models.boosting import Trees, boost, examples_of
from local_bigquery.ml.models.class_weights import CLASS_WEIGHT_OPTIONS, class_weights_of
from local_bigquery.ml.models.supervised import (
    Classes,
    Classifier,
    Regressor,
    Supervised,
    complete,
    evaluation_rows,
    label_numbers,
)
from local_bigquery.ml.options import Option, boolean, number, one_of, string, whole_number

_fraction = number(more_than=0.0, at_most=1.0)

_SHARED_OPTIONS = (
    *SPLIT_OPTIONS,
    Option("l1_reg", number(at_least=0.0), 0.0),
    Option("l2_reg", number(at_least=0.0), 1.0),
    Option("tree_method", one_of("AUTO", "EXACT", "APPROX", "HIST"), "AUTO"),
    Option("min_tree_child_weight", whole_number(at_least=0), 1),
    Option("colsample_bytree", _fraction, 1.0),
    Option("colsample_bylevel", _fraction, 1.0),
    Option("min_split_loss", number(at_least=0.0), 0.0),
    Option("instance_weight_col", string),
    Option("xgboost_version", one_of("0.9", "1.1", "2.1"), "0.9"),
    Option("early_stop", boolean, default=True),
    Option("min_rel_progress", number(at_least=0.0), 0.01),
    Option("enable_global_explain", boolean, default=False),
    Option("approx_global_feature_contrib", boolean),
)
_BOOSTED_OPTIONS = (
    *_SHARED_OPTIONS,
    Option("category_encoding_method", one_of(LABEL, ONE_HOT, TARGET), LABEL),
    Option("booster_type", one_of("GBTREE", "DART"), "GBTREE"),
    Option("dart_normalize_type", one_of("TREE", "FOREST")),
    Option("dropout", number(at_least=0.0, at_most=1.0)),
    Option("num_parallel_tree", whole_number(at_least=1), 1),
    Option("max_tree_depth", whole_number(at_least=1), 6),
    Option("learn_rate", number(more_than=0.0), 0.3),
    Option("max_iterations", whole_number(at_least=1), 20),
    Option("colsample_bynode", _fraction, 1.0),
    Option("subsample", _fraction, 1.0),
)
_FOREST_OPTIONS = (
    *_SHARED_OPTIONS,
    Option("num_parallel_tree", whole_number(at_least=2), 100),
    Option("max_tree_depth", whole_number(at_least=1), 15),
    Option("colsample_bynode", _fraction, 0.8),
    Option("subsample", number(more_than=0.0, less_than=1.0), 0.8),
)

# The options that random forests lack, with the values that make a random forest of boosted trees.
_FOREST = {
    "category_encoding_method": LABEL,
    "booster_type": "GBTREE",
    "dart_normalize_type": None,
    "dropout": None,
    "learn_rate": 1.0,
    "max_iterations": 1,
}

# The number of parallel trees from which on global explanations are approximations by default.
_APPROXIMATE_BOOSTED_FROM = 10
_APPROXIMATE_FOREST_FROM = 50

# Boosting starts at this value before XGBoost 2, and at the mean of the label since then.
_EARLY_START = 0.5
_MEAN_START_VERSION = "2.1"


class TreeModel(Supervised):
    """The common part of tree models."""

    estimator: Trees

    def attributions(self, matrix: Matrix, *, approximate: bool = False) -> tuple[Vector, Vector]:
        """Return the attributions by TreeSHAP; the baseline is the expected raw prediction."""
        values, baseline = self.estimator.contributions(matrix, approximate=approximate)
        return self.by_column(values), baseline

    def feature_importance(self) -> pa.Table:
        """Return the number of splits by each feature column, and the mean gain and cover of these splits."""
        width = sum(feature.encoding.width for feature in self.encoder.features)
        weight, gain, cover = (
            self.by_column(self.estimator.totals(kind, width)) for kind in ("weight", "total_gain", "total_cover")
        )
        splits = np.maximum(weight, 1.0)
        return pa.table(
            {
                "feature": list(self.columns),
                "importance_weight": weight,
                "importance_gain": gain / splits,
                "importance_cover": cover / splits,
            }
        )


class TreeClassifier(TreeModel, Classifier):
    """Trees that predict one of two or more classes."""


class TreeRegressor(TreeModel, Regressor):
    """Trees that predict a number."""


def _train_classifier(model_type: str, many_trees: int, rows: pa.Table, options: Mapping[str, Any]) -> TreeClassifier:
    options = {**_FOREST, **options}
    data = _prepare(rows, options)
    classes = Classes.of(data.label, data.training[data.label])
    label = classes.numbers(data.training)
    weights = class_weights_of(label, classes, options)
    one_hot = np.eye(len(classes.values))[label]
    encoder = _fit_encoder(data, one_hot[:, 1:] if classes.are_binary else one_hot, options)

    def examples(part: pa.Table) -> xgboost.DMatrix:
        numbers = classes.numbers(part)
        return examples_of(encoder.encode(part), numbers, weights[numbers] * _instance_weights(part, options))

    objective: dict[str, Any] = {"objective": "binary:logistic", "eval_metric": "logloss"}
    if not classes.are_binary:
        several = {"num_class": len(classes.values), "base_score": _EARLY_START}
        objective = {"objective": "multi:softprob", "eval_metric": "mlogloss", **several}
    held_out = evaluation_rows(data, classes)
    trees, training_info = boost(
        examples(data.training),
        None if held_out is data.training else examples(held_out),
        {**_parameters(options), **objective},
        rounds=options["max_iterations"],
        min_progress=_min_progress(options),
    )
    model = TreeClassifier(
        model_type=model_type,
        encoder=encoder,
        classes=classes,
        estimator=trees,
        training_info=training_info,
        feature_info=describe(rows, data.features),
    )
    return complete(model, data, options, approximate=_approximate(options, many_trees))


def _train_regressor(model_type: str, many_trees: int, rows: pa.Table, options: Mapping[str, Any]) -> TreeRegressor:
    options = {**_FOREST, **options}
    data = _prepare(rows, options)
    encoder = _fit_encoder(data, label_numbers(data.training, data.label)[:, np.newaxis], options)

    def examples(part: pa.Table) -> xgboost.DMatrix:
        return examples_of(encoder.encode(part), label_numbers(part, data.label), _instance_weights(part, options))

    trees, training_info = boost(
        examples(data.training),
        examples(data.evaluation) if data.evaluation.num_rows else None,
        {**_parameters(options), "objective": "reg:squarederror", "eval_metric": "rmse"},
        rounds=options["max_iterations"],
        min_progress=_min_progress(options),
    )
    model = TreeRegressor(
        model_type=model_type,
        encoder=encoder,
        label=data.label,
        estimator=trees,
        training_info=training_info,
        feature_info=describe(rows, data.features),
    )
    return complete(model, data, options, approximate=_approximate(options, many_trees))


def _prepare(rows: pa.Table, options: Mapping[str, Any]) -> TrainingData:
    """Prepare the rows; the column of the weights is no feature."""
    data = prepare(rows, options)
    if options["instance_weight_col"] is None:
        return data
    if options.get("auto_class_weights") or options.get("class_weights") is not None:
        raise invalid_query(
            "Option 'instance_weight_col' cannot be set together with auto_class_weights=TRUE or class_weights"
        )
    column = find_column(rows, options["instance_weight_col"])
    if column not in data.features or not is_numeric(rows[column].type):
        raise invalid_query(
            f"Option 'instance_weight_col' must name a column of numbers of the training query that is not the label, "
            f"not {options['instance_weight_col']!r}"
        )
    features = tuple(name for name in data.features if name != column)
    if not features:
        raise invalid_query("The training query returned no column besides label and weight: a model needs features")
    return replace(data, features=features)


def _instance_weights(rows: pa.Table, options: Mapping[str, Any]) -> Vector:
    name = options["instance_weight_col"]
    column = find_column(rows, name) if name is not None else None
    if column is None:
        return np.ones(rows.num_rows)
    weights: Vector = pc.fill_null(as_float64(rows[column]), np.nan).to_numpy()
    if not (np.isfinite(weights) & (weights >= 0)).all():
        raise invalid_query(f"The weight column {column!r} contains NULL, NaN, infinity, or numbers below 0")
    return weights


def _fit_encoder(data: TrainingData, target: Vector, options: Mapping[str, Any]) -> FeatureEncoder:
    return FeatureEncoder.fit(
        data.training,
        data.features,
        standardize=False,
        categories=options["category_encoding_method"],
        target=target,
    )


def _parameters(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options as parameters of XGBoost."""
    method = options["tree_method"]
    parameters = {
        "alpha": options["l1_reg"],
        "lambda": options["l2_reg"],
        "tree_method": "hist" if method == "AUTO" else method.lower(),
        "min_child_weight": options["min_tree_child_weight"],
        "colsample_bytree": options["colsample_bytree"],
        "colsample_bylevel": options["colsample_bylevel"],
        "colsample_bynode": options["colsample_bynode"],
        "gamma": options["min_split_loss"],
        "subsample": options["subsample"],
        "num_parallel_tree": options["num_parallel_tree"],
        "max_depth": options["max_tree_depth"],
        "eta": options["learn_rate"],
    }
    if options["xgboost_version"] != _MEAN_START_VERSION:
        parameters["base_score"] = _EARLY_START
    return parameters | _booster(options)


def _booster(options: Mapping[str, Any]) -> dict[str, Any]:
    dart_options = {"dart_normalize_type": options["dart_normalize_type"], "dropout": options["dropout"]}
    if options["booster_type"] == "DART":
        normalize_type = options["dart_normalize_type"] or "TREE"
        return {"booster": "dart", "normalize_type": normalize_type.lower(), "rate_drop": options["dropout"] or 0.0}
    for name, value in dart_options.items():
        if value is not None:
            raise invalid_query(f"Option {name!r} goes with booster_type='DART' only")
    return {"booster": "gbtree"}


def _min_progress(options: Mapping[str, Any]) -> float | None:
    return options["min_rel_progress"] if options["early_stop"] else None


def _approximate(options: Mapping[str, Any], many_trees: int) -> bool:
    """Return True if global explanations use approximate attributions: by default from `many_trees` trees on."""
    chosen = options["approx_global_feature_contrib"]
    return bool(options["num_parallel_tree"] >= many_trees if chosen is None else chosen)


def _boosted(name: str, train: Callable[..., Model], *more: Option) -> ModelType:
    return ModelType(name, name, (*_BOOSTED_OPTIONS, *more), partial(train, name, _APPROXIMATE_BOOSTED_FROM))


def _forest(name: str, train: Callable[..., Model], *more: Option) -> ModelType:
    return ModelType(name, name, (*_FOREST_OPTIONS, *more), partial(train, name, _APPROXIMATE_FOREST_FROM))


BOOSTED_TREE_CLASSIFIER = _boosted("BOOSTED_TREE_CLASSIFIER", _train_classifier, *CLASS_WEIGHT_OPTIONS)
BOOSTED_TREE_REGRESSOR = _boosted("BOOSTED_TREE_REGRESSOR", _train_regressor)
RANDOM_FOREST_CLASSIFIER = _forest("RANDOM_FOREST_CLASSIFIER", _train_classifier, *CLASS_WEIGHT_OPTIONS)
RANDOM_FOREST_REGRESSOR = _forest("RANDOM_FOREST_REGRESSOR", _train_regressor)
