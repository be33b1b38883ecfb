"""The model types DNN_CLASSIFIER and DNN_REGRESSOR: scikit-learn's multi-layer perceptrons.

https://cloud.google.com/bigquery/docs/reference/standard-sql/bigqueryml-syntax-create-dnn-models
"""

import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from time import perf_counter
from typing import Any

import numpy as np
import pyarrow as pa
from scipy import special
from sklearn.exceptions import ConvergenceWarning
from sklearn.neural_network import MLPClassifier, MLPRegressor

from local_bigquery.errors import invalid_query
from local_bigquery.ml.features.encoding import FeatureEncoder, Matrix, dense
from local_bigquery.ml.features.statistics import describe
from local_bigquery.ml.features.training_data import SPLIT_OPTIONS, prepare
from local_bigquery.ml.model import Model, ModelType, Vector
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
from local_bigquery.ml.models.training_info import iterations
from local_bigquery.ml.options import Option, boolean, number, one_of, only, only_one_of, whole_number


def _hidden_units(value: Any) -> list[int]:
    if not isinstance(value, list) or not value:
        raise ValueError("must be an array of whole numbers")
    return [whole_number(at_least=1)(units) for units in value]


_OPTIONS = (
    *SPLIT_OPTIONS,
    Option("hidden_units", _hidden_units, [128]),
    Option("activation_fn", only_one_of("RELU", "SIGMOID", "TANH"), "RELU"),
    Option("optimizer", only_one_of("ADAM", "SGD"), "ADAM"),
    Option("learn_rate", number(more_than=0.0), 0.001),
    Option("batch_size", whole_number(at_least=1), 1024),
    Option("dropout", only(0), 0),
    Option("l1_reg", only(0), 0),
    Option("l2_reg", number(at_least=0.0), 0.0),
    Option("max_iterations", whole_number(at_least=1), 20),
    Option("early_stop", boolean, default=True),
    Option("min_rel_progress", number(at_least=0.0), 0.01),
    Option("integrated_gradients_num_steps", whole_number(at_least=1), 15),
    Option("enable_global_explain", boolean, default=False),
    Option("tf_version", one_of("1.15", "2.8.0")),  # without effect
    Option("warm_start", only(choice=False), default=False),
)
_SEED = 0
_ACTIVATIONS = {"RELU": "relu", "SIGMOID": "logistic", "TANH": "tanh"}
# The activation of a layer, and its slope as a function of the activation.
_FUNCTIONS: dict[str, tuple[Callable[[Vector], Vector], Callable[[Vector], Vector]]] = {
    "relu": (lambda x: np.maximum(x, 0.0), lambda a: (a > 0).astype(np.float64)),
    "logistic": (special.expit, lambda a: a * (1.0 - a)),
    "tanh": (np.tanh, lambda a: 1.0 - a**2),
}


@dataclass(frozen=True)
class Network:
    """A trained network, with the methods of scikit-learn's estimators.

    Attributes:
        coefs: the weights of each layer, (inputs, outputs).
        intercepts: the intercepts of each layer, (outputs,).
        activation: the activation of the hidden layers, a key of `_FUNCTIONS`.
    """

    coefs: tuple[Vector, ...]
    intercepts: tuple[Vector, ...]
    activation: str

    def scores(self, matrix: Matrix) -> Vector:
        """Return the raw predictions of every row, (rows, raw predictions)."""
        return self._layers(dense(matrix))[-1]

    def predict(self, matrix: Matrix) -> Vector:
        """Return the predicted number of every row."""
        return self.scores(matrix)[:, 0]

    def predict_proba(self, matrix: Matrix) -> Vector:
        """Return the probability of every class for every row."""
        scores = self.scores(matrix)
        if scores.shape[1] > 1:
            return np.asarray(special.softmax(scores, axis=1))
        positive = special.expit(scores[:, 0])
        return np.column_stack([1.0 - positive, positive])

    def gradients(self, matrix: Vector) -> Vector:
        """Return the gradients of the raw predictions, (rows, raw predictions, columns)."""
        _, slope = _FUNCTIONS[self.activation]
        hidden = self._layers(matrix)[:-1]
        found = np.repeat(self.coefs[-1].T[np.newaxis], len(matrix), axis=0)
        for weights, activations in zip(self.coefs[-2::-1], hidden[::-1], strict=True):
            found = (found * slope(activations)[:, np.newaxis, :]) @ weights.T
        return found

    def _layers(self, matrix: Vector) -> list[Vector]:
        """Return the activations of the hidden layers, and the raw predictions."""
        activate, _ = _FUNCTIONS[self.activation]
        layers = []
        for weights, intercepts in zip(self.coefs[:-1], self.intercepts[:-1], strict=True):
            matrix = activate(matrix @ weights + intercepts)
            layers.append(matrix)
        return [*layers, matrix @ self.coefs[-1] + self.intercepts[-1]]


@dataclass(frozen=True, kw_only=True)
class NeuralModel(Supervised):
    """The common part of neural networks. `steps` is the option `integrated_gradients_num_steps`."""

    estimator: Network
    steps: int

    def attributions(self, matrix: Matrix, *, approximate: bool = False) -> tuple[Vector, Vector]:
        """Return integrated gradients from a row of means without categories, whose scores are the baseline.

        What the steps miss is shared out by the size of the attributions, so that they add up to the scores
        (Sundararajan, Taly, Yan: Axiomatic Attribution for Deep Networks, 2017).
        """
        if approximate:
            raise invalid_query("approx_feature_contrib only applies to boosted tree and random forest models")
        rows = dense(matrix)
        shares = (np.arange(self.steps) + 0.5) / self.steps
        values = sum(self.estimator.gradients(share * rows) for share in shares) / self.steps * rows[:, np.newaxis, :]
        baseline = self.estimator.scores(np.zeros((1, rows.shape[1])))[0]
        missing = self.estimator.scores(rows) - baseline - values.sum(axis=2)
        sizes = np.abs(values) + np.finfo(np.float64).tiny
        values = values + missing[:, :, np.newaxis] * sizes / sizes.sum(axis=2, keepdims=True)
        return self.by_column(values), baseline


@dataclass(frozen=True, kw_only=True)
class NeuralClassifier(NeuralModel, Classifier):
    """A network that predicts one of two or more classes."""


@dataclass(frozen=True, kw_only=True)
class NeuralRegressor(NeuralModel, Regressor):
    """A network that predicts a number."""


def _train_classifier(rows: pa.Table, options: Mapping[str, Any]) -> NeuralClassifier:
    data = prepare(rows, options)
    classes = Classes.of(data.label, data.training[data.label])
    encoder = FeatureEncoder.fit(data.training, data.features)
    labels = classes.numbers(data.training)
    held_out = evaluation_rows(data, classes)
    known = None if held_out is data.training else (encoder.encode(held_out), classes.numbers(held_out))

    def loss(network: Network, matrix: Matrix, numbers: Vector) -> float:
        chosen = network.predict_proba(matrix)[np.arange(len(numbers)), numbers]
        return float(-np.log(np.maximum(chosen, np.finfo(np.float64).tiny)).mean())

    network, info = _fit(
        partial(
            MLPClassifier(**_parameters(options, data.training.num_rows)).partial_fit,
            classes=np.arange(len(classes.values)),
            sample_weight=class_weights_of(labels, classes, options)[labels],
        ),
        (encoder.encode(data.training), labels),
        known,
        loss,
        options,
    )
    model = NeuralClassifier(
        model_type="DNN_CLASSIFIER",
        encoder=encoder,
        classes=classes,
        estimator=network,
        steps=options["integrated_gradients_num_steps"],
        training_info=info,
        feature_info=describe(rows, data.features),
    )
    return complete(model, data, options)


def _train_regressor(rows: pa.Table, options: Mapping[str, Any]) -> NeuralRegressor:
    data = prepare(rows, options)
    encoder = FeatureEncoder.fit(data.training, data.features)
    labels = label_numbers(data.training, data.label)
    mean, deviation = float(labels.mean()), float(labels.std()) or 1.0
    held_out = data.evaluation

    def loss(network: Network, matrix: Matrix, numbers: Vector) -> float:
        return float(np.mean((deviation * (network.predict(matrix) - numbers)) ** 2))

    network, info = _fit(
        MLPRegressor(**_parameters(options, data.training.num_rows)).partial_fit,
        (encoder.encode(data.training), (labels - mean) / deviation),
        (encoder.encode(held_out), (label_numbers(held_out, data.label) - mean) / deviation)
        if held_out.num_rows
        else None,
        loss,
        options,
    )
    # The network learned a standardised label; its last layer now returns the label itself.
    scaled = Network(
        (*network.coefs[:-1], network.coefs[-1] * deviation),
        (*network.intercepts[:-1], network.intercepts[-1] * deviation + mean),
        network.activation,
    )
    model = NeuralRegressor(
        model_type="DNN_REGRESSOR",
        encoder=encoder,
        label=data.label,
        estimator=scaled,
        steps=options["integrated_gradients_num_steps"],
        training_info=info,
        feature_info=describe(rows, data.features),
    )
    return complete(model, data, options)


def _parameters(options: Mapping[str, Any], rows: int) -> dict[str, Any]:
    """Return the options as parameters of scikit-learn."""
    return {
        "hidden_layer_sizes": tuple(options["hidden_units"]),
        "activation": _ACTIVATIONS[options["activation_fn"]],
        "solver": options["optimizer"].lower(),
        "alpha": options["l2_reg"],
        "batch_size": min(options["batch_size"], rows),
        "learning_rate_init": options["learn_rate"],
        "random_state": _SEED,
    }


Examples = tuple[Matrix, Vector]


def _fit(
    partial_fit: Callable[..., Any],
    training: Examples,
    held_out: Examples | None,
    loss: Callable[[Network, Matrix, Vector], float],
    options: Mapping[str, Any],
) -> tuple[Network, pa.Table]:
    """Train by passes over the rows until there is too little progress; return the network and ML.TRAINING_INFO."""
    losses: list[float] = []
    eval_losses: list[float] = []
    durations: list[int] = []
    for _ in range(options["max_iterations"]):
        started = perf_counter()
        with warnings.catch_warnings(action="ignore", category=ConvergenceWarning):
            estimator = partial_fit(*training)
        network = Network(tuple(estimator.coefs_), tuple(estimator.intercepts_), estimator.activation)
        losses.append(loss(network, *training))
        if held_out is not None:
            eval_losses.append(loss(network, *held_out))
        durations.append(round(1000 * (perf_counter() - started)))
        if not np.isfinite(losses[-1]):
            raise invalid_query(f"Training diverges with a learn_rate of {options['learn_rate']:g}: lower it")
        judged = eval_losses or losses
        has_stalled = len(judged) > 1 and judged[-2] - judged[-1] < options["min_rel_progress"] * judged[-2]
        if has_stalled and options["early_stop"]:
            break
    info = iterations(
        loss=losses, eval_loss=eval_losses or None, learning_rate=options["learn_rate"], duration_ms=durations
    )
    return network, info


def _type(name: str, train: Callable[[pa.Table, Mapping[str, Any]], Model], *more: Option) -> ModelType:
    return ModelType(name, name, (*_OPTIONS, *more), train)


DNN_CLASSIFIER = _type("DNN_CLASSIFIER", _train_classifier, *CLASS_WEIGHT_OPTIONS)
DNN_REGRESSOR = _type("DNN_REGRESSOR", _train_regressor)
