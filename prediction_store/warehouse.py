"""Names of the BigQuery models and tables that refreshes make: MODEL_KIND_VERSION, in one dataset."""

from typing import Literal, get_args

Kind = Literal["model", "metrics", "predictions", "measures", "changes"]

_OLD_KINDS = ("evaluation", "checks")
"""Kinds of tables that an earlier checkout made."""


def bigquery_name(dataset: str, model: str, kind: Kind, version: int) -> str:
    """The full name of what a refresh makes: its BigQuery model, or one of its tables.

    Args:
        dataset: PROJECT.DATASET.
        model: the model's name in the registry.
        kind: the kind of table, or `model`.
        version: the version that the refresh makes.
    """
    return f"{dataset}.{model}_{kind}_{version}"


def live_metrics_table(model: str) -> str:
    """The name of the table with the live metrics of a model's versions."""
    return f"{model}_live_metrics"


def version_of(name: str, model: str) -> int | None:
    """The version in the name of a BigQuery model or table; None if no refresh of `model` makes such a name.

    Args:
        name: the name without project and dataset.
        model: the model's name in the registry.
    """
    kind, _, version = name.removeprefix(f"{model}_").partition("_")
    is_ours = name.startswith(f"{model}_") and kind in (*get_args(Kind), *_OLD_KINDS) and version.isdigit()
    return int(version) if is_ours else None
