"""The checks of a pipeline that need no analysis of its SQL, so that they also run in Airflow.

`make check-pipelines` runs them too, and then analyses the SQL (`refresh_factory.check`).
"""

import re
from pathlib import Path

from foreserve.refresh import Refresh
from refresh_factory.pipeline import PIPELINE_FILE, Pipeline, Problem
from refresh_factory.statements import without_comments
from refresh_factory.templates import Rendered, Templates
from refresh_factory.yaml_file import YamlFile

PROJECT = "my-project"
"""The project in checked SQL."""

DATASET = "foreserve"
"""The dataset of the refreshes in checked SQL."""

CUTOFF = "2026-01-01T00:00:00+00:00"

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

Sources: https://cloud.google.com/bigquery/docs/evaluate-overview and
https://cloud.google.com/bigquery/docs/reference/standard-sql/bigqueryml-syntax-evaluate#output
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

_FEEDBACK_TYPE = re.compile(r"""\bfeedback_type\s*=\s*r?["']implicit["']""", re.IGNORECASE)
_MODEL_TYPE = re.compile(r"""\bmodel_type\s*=\s*r?["'](?P<type>\w+)["']""", re.IGNORECASE)


def check_templates(folder: Path, pipeline: Pipeline) -> list[Problem]:
    """The errors in the templates and the metrics of a pipeline, which would make a refresh fail later."""
    templates, refresh = Templates(folder, pipeline, PROJECT), checked_refresh(pipeline)
    if problems := templates.problems():
        return problems
    rendered = (templates.render(name, refresh, model) for name, model in models_of_files(templates, refresh).items())
    return [text for text in rendered if isinstance(text, Problem)] or check_metrics(folder, pipeline)


def check_metrics(folder: Path, pipeline: Pipeline) -> list[Problem]:
    """The metrics of the quality gate that ML.EVALUATE does not return; none if the type of the model is not known."""
    templates = Templates(folder, pipeline, PROJECT)
    refresh = checked_refresh(pipeline)
    train = templates.render("train.sql", refresh, refresh.candidate_model)
    sql = without_comments(train.sql) if isinstance(train, Rendered) else ""
    found = _MODEL_TYPE.search(sql)
    model_type = found["type"].upper() if found else ""
    known = METRICS.get(model_type, ())
    if model_type == "MATRIX_FACTORIZATION":
        known = FEEDBACK_METRICS["IMPLICIT" if _FEEDBACK_TYPE.search(sql) else "EXPLICIT"]
    return [
        in_yaml(
            folder,
            ("quality_gate", "metrics", metric),
            f"quality_gate.metrics.{metric}: no such metric; ML.EVALUATE of {model_type} has {', '.join(known)}",
        )
        for metric in pipeline.quality_gate.metrics
        if known and metric not in known
    ]


def models_of_files(templates: Templates, refresh: Refresh) -> dict[str, str | None]:
    """The BigQuery model with which each SQL file is rendered before a candidate is trained."""
    models = dict.fromkeys(("train.sql", "predict.sql"), refresh.candidate_model)
    return {name: models.get(name) for name in templates.names}


def checked_refresh(pipeline: Pipeline) -> Refresh:
    """The refresh whose SQL is checked."""
    return Refresh(pipeline.model, 1, f"{PROJECT}.{DATASET}", cutoff=CUTOFF)


def in_yaml(folder: Path, field: tuple[str, ...], message: str) -> Problem:
    """A problem with a field of pipeline.yaml, given by its path."""
    file = folder / PIPELINE_FILE
    return Problem(file, YamlFile(file).line(field), message)


def check_names(folder: Path, pipeline: Pipeline) -> list[Problem]:
    """The errors because of which Airflow would not load a pipeline, or a person not find it."""
    problems = []
    model, name = pipeline.model, folder.resolve().name
    if model != name:
        message = f"model: {model!r}, but the folder is {name!r}; give both the same name"
        problems.append(in_yaml(folder, ("model",), message))
    dag = folder / "dag.py"
    if not dag.is_file():
        message = "the file is missing, so Airflow will not see the pipeline; copy that of another pipeline"
        problems.append(Problem(dag, None, message))
    # A file that imports nothing makes no DAG in any case.
    elif "import" in (text := dag.read_text().lower()) and not all(word in text for word in ("dag", "airflow")):
        message = (
            "Airflow does not load a file without the words dag and airflow (its option dag_discovery_safe_mode); "
            "copy that of another pipeline"
        )
        problems.append(Problem(dag, 1, message))
    return problems
