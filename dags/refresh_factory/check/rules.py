"""The checks of a pipeline before Airflow sees it."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sqlglot import exp

from foreserve.refresh import Refresh
from refresh_factory.check import bigquery
from refresh_factory.check.templates import Rendered, Templates
from refresh_factory.pipeline import PIPELINE_FILE, Pipeline, PipelineError, Problem, load_pipeline
from refresh_factory.yaml_file import YamlFile

_PROJECT = "my-project"
_CUTOFF = "2026-01-01T00:00:00+00:00"
_OUTPUT = ["entity_id", "prediction"]

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
_METRICS = {
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


def check_pipelines(folders: Sequence[Path]) -> list[Problem]:
    """The errors and warnings of some pipelines, each by itself and among them."""
    problems: list[Problem] = []
    row_keys: dict[str, tuple[str, Path]] = {}
    for folder in folders:
        try:
            pipeline = load_pipeline(folder, warn=problems.append)
        except PipelineError as error:
            problems += error.problems
            continue
        problems += PipelineCheck(folder, pipeline).run()
        expected, other = row_keys.setdefault(pipeline.entity_type, (pipeline.row_keys, folder))
        if pipeline.row_keys != expected:
            message = f"row_keys: {pipeline.row_keys!r}, but {expected!r} in {other}; a table has one form of row keys"
            problems.append(_in_yaml(folder, ("row_keys",), message))
    return list(dict.fromkeys(problems))  # several pipelines may import the same file


class PipelineCheck:
    """The check of one pipeline. Use it once."""

    def __init__(self, folder: Path, pipeline: Pipeline) -> None:
        """Check the pipeline in `folder`."""
        self._folder = folder
        self._pipeline = pipeline
        self._templates = Templates(folder, pipeline, _PROJECT)
        self._refresh = Refresh(pipeline.model, 1, f"{_PROJECT}.foreserve", cutoff=_CUTOFF)
        self._problems: list[Problem] = []

    def run(self) -> list[Problem]:
        """Return the errors."""
        self._check_names()
        if wrong := self._templates.problems():
            return self._problems + wrong  # rendering would find the same errors again
        options = self._check_training()
        self._check_evaluation(options)
        self._check_prediction()
        self._check_metrics(options)
        return self._problems

    def _check_names(self) -> None:
        model, folder = self._pipeline.model, self._folder.resolve().name
        if model != folder:
            message = f"model: {model!r}, but the folder is {folder!r}; give both the same name"
            self._problems.append(_in_yaml(self._folder, ("model",), message))
        dag = self._folder / "dag.py"
        if not dag.is_file():
            message = "the file is missing, so Airflow will not see the pipeline; copy that of another pipeline"
            self._problems.append(Problem(dag, None, message))

    def _check_training(self) -> dict[str, Any]:
        """Check train.sql; return the options of its CREATE MODEL."""
        model = self._refresh.candidate_model
        found = self._statement("train.sql", model)
        if found is None:
            return {}
        statement, text = found
        if not isinstance(statement, exp.Create) or statement.kind != "MODEL":
            self._add(text, 0, "no CREATE MODEL; write CREATE OR REPLACE MODEL {{ model }} OPTIONS (...) AS SELECT ...")
            return {}
        name = ".".join(part.name for part in statement.this.parts)
        if name != model:
            self._add(text, bigquery.offset(statement.this), f"the model is called {name}; call it {{{{ model }}}}")
        if not statement.args.get("replace"):
            self._add(text, 0, "a task that is tried again would find the model there; write CREATE OR REPLACE MODEL")
        return bigquery.options(statement)

    def _check_evaluation(self, options: dict[str, Any]) -> None:
        """Check evaluate.sql: a query with the label of train.sql."""
        found = self._query("evaluate.sql")
        if found is None:
            return
        query, text = found
        columns = bigquery.columns(query)
        for label in options.get("input_label_cols", []):
            if columns is not None and label.lower() not in [column.lower() for column in columns]:
                message = f"there is no column {label}, the label of train.sql; there are {', '.join(columns)}"
                self._add(text, bigquery.offset(query), message)

    def _check_prediction(self) -> None:
        """Check predict.sql: a query with two columns."""
        found = self._query("predict.sql", self._refresh.candidate_model)
        if found is None:
            return
        query, text = found
        columns = bigquery.columns(query)
        if columns is None or sorted(column.lower() for column in columns) != _OUTPUT:
            there = "a *" if columns is None else ", ".join(column or "one without a name" for column in columns)
            message = f"the columns must be entity_id and prediction, not {there}; name them with AS"
            self._add(text, bigquery.offset(query), message)

    def _check_metrics(self, options: dict[str, Any]) -> None:
        """Check that ML.EVALUATE returns the metrics of the quality gate, if the model type tells which it returns."""
        model_type = str(options.get("model_type", ""))
        known = _METRICS.get(model_type.upper(), ())
        for metric in self._pipeline.quality_gate.metrics:
            if known and metric not in known:
                field = ("quality_gate", "metrics", metric)
                there = f"ML.EVALUATE of {model_type.upper()} has {', '.join(known)}"
                message = f"{'.'.join(field)}: no such metric; {there}"
                self._problems.append(_in_yaml(self._folder, field, message))

    def _query(self, name: str, model: str | None = None) -> tuple[exp.Query, Rendered] | None:
        found = self._statement(name, model)
        if found is None:
            return None
        statement, text = found
        if not isinstance(statement, exp.Query):
            self._add(text, 0, f"{statement.key.upper()} is not a query; write one SELECT")
            return None
        return statement, text

    def _statement(self, name: str, model: str | None) -> tuple[exp.Expr, Rendered] | None:
        """The one statement of a file; None, and a problem, if it has an error."""
        text = self._templates.render(name, self._refresh, model)
        if isinstance(text, Problem):
            self._problems.append(text)
            return None
        try:
            statements = bigquery.parse(text.sql)
        except bigquery.SqlError as error:
            self._add(text, error.offset, f"not BigQuery's SQL: {error}")
            return None
        for alias in (alias for statement in statements for alias in bigquery.reserved_aliases(statement)):
            self._add(text, bigquery.offset(alias), f"{alias.name} is a reserved word; choose another name")
        if len(statements) != 1:
            self._add(text, 0, f"{len(statements)} statements; write one, with what it needs in WITH or subqueries")
            return None
        return statements[0], text

    def _add(self, text: Rendered, offset: int, message: str) -> None:
        file, line = text.place(offset)
        self._problems.append(Problem(file, line, message))


def _in_yaml(folder: Path, field: tuple[str, ...], message: str) -> Problem:
    file = folder / PIPELINE_FILE
    return Problem(file, YamlFile(file).line(field), message)
