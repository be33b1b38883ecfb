"""Class weights: the weight of each training row of a classifier by its class."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa

from local_bigquery.errors import invalid_query
from local_bigquery.ml.model import Vector
from local_bigquery.ml.models.supervised import Classes
from local_bigquery.ml.options import Option, boolean, class_weights

CLASS_WEIGHT_OPTIONS = (
    Option("auto_class_weights", boolean, default=False),
    Option("class_weights", class_weights),
)


def class_weights_of(label: Vector, classes: Classes, options: Mapping[str, Any]) -> Vector:
    """Return the weight of every class, (classes,).

    With `auto_class_weights` all classes have the same total weight. Without either option, every weight is 1.

    Args:
        label: the class numbers of the training rows, (rows,).
        classes: the classes.
        options: the options of CREATE MODEL, including `CLASS_WEIGHT_OPTIONS`.

    Raises:
        BigQueryError: `invalidQuery` if both options are set, or the weights do not match the classes.
    """
    given = options["class_weights"]
    if given is not None and options["auto_class_weights"]:
        raise invalid_query("Option 'class_weights' cannot be set together with auto_class_weights=TRUE")
    if options["auto_class_weights"]:
        counts = np.bincount(label, minlength=len(classes.values))
        return np.asarray(len(label) / (len(counts) * counts))
    if given is None:
        return np.ones(len(classes.values))
    by_text = {_text(value): weight for value, weight in given.items()}
    names = [_text(value) for value in classes.values.to_pylist()]
    unknown, missing = sorted(by_text.keys() - set(names)), sorted(set(names) - by_text.keys())
    if unknown:
        raise invalid_query(f"Option 'class_weights' names {unknown}, which the label never has")
    if missing:
        raise invalid_query(f"Option 'class_weights' must have a weight for every class; it has none for {missing}")
    return np.array([by_text[name] for name in names])


def _text(value: Any) -> str:
    """Return a class as BigQuery's CAST to STRING does."""
    return str(pa.scalar(value).cast(pa.string()))
