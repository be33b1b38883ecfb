"""The checks of a pipeline before Airflow sees it: those of its files, and the analysis of its SQL."""

import os
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from foreserve.prediction_gate import PLAIN_NAME
from foreserve.refresh import Refresh
from local_bigquery.analyzer import (
    Analysis,
    Catalog,
    GoogleSqlError,
    Output,
    Statement,
    TableFunctionCall,
    Type,
    UnknownOutputError,
    analyze,
    parse,
)
from local_bigquery.analyzer.ml import FUNCTIONS, Model
from prediction_store.lifecycle import ServedInterval
from refresh_factory.check.options import option_problems
from refresh_factory.check.schemas import SCHEMAS_FILE, read_schemas
from refresh_factory.checks import CUTOFF, METRICS, PROJECT, check_names, check_templates, checked_refresh, in_yaml
from refresh_factory.pipeline import OUTCOMES_FILE, Pipeline, PipelineError, Problem, load_pipeline
from refresh_factory.statements import Statements
from refresh_factory.templates import Rendered, Templates

_OUTPUT = ["entity_id", "prediction"]
_OUTCOME = ["entity_id", "observed_at", "outcome"]
_NUMBERS = ("INT64", "FLOAT64", "NUMERIC", "BIGNUMERIC")
_COERCED = (_NUMBERS, ("DATE", "DATETIME", "TIMESTAMP"))
"""Types that take each other's place as a feature.

Source: https://cloud.google.com/bigquery/docs/reference/standard-sql/conversion_rules#coercion
"""

_NO_STRINGS = ("ARRAY", "STRUCT", "JSON", "GEOGRAPHY")
"""Types that do not cast to STRING.

Source: https://cloud.google.com/bigquery/docs/reference/standard-sql/conversion_functions#cast_as_string
"""

_CLAUSES = ("AS", "FROM", "GROUP", "JOIN", "LIMIT", "ON", "ORDER", "SELECT", "WHERE", "WITH")
"""Keywords that nobody takes for a name: something is missing before them."""

_WAYS_OUT = {
    "No matching signature for operator": "CAST one of them, or write a value of the other's type",
    "Table not found": f"if it exists, run make record-schemas NAME={{}}, which writes {SCHEMAS_FILE}",
}
"""Ways out of BigQuery's errors, by the beginning of the message. The braces are for the pipeline's name."""

Columns = Mapping[str, Type]


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
            shown = os.path.relpath(other)
            message = f"row_keys: {pipeline.row_keys!r}, but {expected!r} in {shown}; a table has one form of row keys"
            problems.append(in_yaml(folder, ("row_keys",), message))
    return list(dict.fromkeys(problems))  # several pipelines may import the same file


def missing_schemas(folders: Iterable[Path]) -> list[Problem]:
    """A warning for each pipeline whose schemas are not recorded. `check_pipelines` leaves out what needs them."""
    message = (
        "no schemas are recorded, so names and types in SQL are not checked; "
        "run make record-schemas NAME={} (make up first, or BIGQUERY=cloud)"
    )
    files = (folder / SCHEMAS_FILE for folder in folders)
    return [Problem(f, None, message.format(f.parent.name), is_warning=True) for f in files if not f.is_file()]


class PipelineCheck:
    """The check of one pipeline. Use it once."""

    def __init__(self, folder: Path, pipeline: Pipeline) -> None:
        """Check the pipeline in `folder`."""
        self._folder = folder
        self._pipeline = pipeline
        self._templates = Templates(folder, pipeline, PROJECT)
        self._refresh = checked_refresh(pipeline)
        self._problems: list[Problem] = []
        self._tables: dict[str, Columns] | None = None
        self._model: Model | None = None
        self._fields: Columns = {}

    def run(self) -> list[Problem]:
        """Return the errors and warnings."""
        self._problems += check_names(self._folder, self._pipeline) + check_templates(self._folder, self._pipeline)
        if self._templates.problems():
            return self._problems  # rendering would find the same errors again
        schemas = read_schemas(self._folder, PROJECT)
        if schemas:
            self._problems += schemas.problems
            self._tables = dict(schemas.tables)
        self._check_training()
        self._check_evaluation()
        self._check_prediction()
        if self._pipeline.outcomes:
            self._check_outcomes(self._pipeline.outcomes.field)
        if self._tables is not None and not self._has_errors():
            self._check_wrappers()
        return self._problems

    def _has_errors(self) -> bool:
        return any(not problem.is_warning for problem in self._problems)

    def _check_training(self) -> None:
        """Check train.sql, and find out which columns the model returns."""
        model = self._refresh.candidate_model
        found = self._statement("train.sql", model)
        if found is None:
            return
        statement, text = found
        if statement.kind != "CREATE_MODEL":
            self._add(text, 0, "no CREATE MODEL; write CREATE OR REPLACE MODEL {{ model }} OPTIONS (...) AS SELECT ...")
            return
        name = ".".join(statement.target)
        if name != model:
            self._add(text, statement.target_offset, f"the model is called {name}; call it {{{{ model }}}}")
        if not statement.or_replace:
            message = "a task that is tried again would find the model there; write CREATE OR REPLACE MODEL"
            self._add(text, statement.offset, message)
        analysis = self._analyze(statement, text)
        if analysis is None or statement.is_remote:
            return
        before = self._has_errors()
        for offset, message, is_warning in option_problems(statement, analysis):
            self._add(text, offset, message, is_warning=is_warning)
        if before or not self._has_errors():
            self._model = Model.of(statement, analysis)

    def _check_evaluation(self) -> None:
        """Check evaluate.sql: a query with the label and the features of train.sql."""
        found = self._query("evaluate.sql")
        if found is None:
            return
        statement, text = found
        analysis = self._analyze(statement, text)
        if analysis and self._model and self._model.type in METRICS:
            offset = next(iter(statement.column_offsets), statement.offset)
            columns = dict(analysis.columns)
            self._compare(text, offset, "the query", "label", self._model.labels, columns)
            self._compare(text, offset, "the query", "feature", self._model.features, columns)

    def _check_prediction(self) -> None:
        """Check predict.sql: a query with two columns."""
        found = self._query("predict.sql", self._refresh.candidate_model)
        if found is None:
            return
        statement, text = found
        before = len(self._problems)
        analysis = self._analyze(statement, text)
        names = [name for name, _ in analysis.columns] if analysis else statement.column_names
        if analysis is None and ("*" in names or any(not each.is_warning for each in self._problems[before:])):
            return
        if sorted(name.lower() for name in names) != _OUTPUT:
            there = ", ".join("one without a name" if not name or name[0] == "$" else name for name in names)
            message = f"the columns must be entity_id and prediction, not {there}; name them with AS"
            self._add(text, next(iter(statement.column_offsets), statement.offset), message)
            return
        if analysis is None:
            return
        columns = _lower(dict(analysis.columns))
        places = dict(zip((name.lower() for name in names), statement.column_offsets, strict=False))
        self._check_entity_id(text, places.get("entity_id", statement.offset), columns["entity_id"])
        self._check_fields(text, places.get("prediction", statement.offset), columns["prediction"])
        for index, inputs in analysis.inputs.items():
            call = statement.calls[index]
            if self._model and call.function in ("ML.PREDICT", "ML.EXPLAIN_PREDICT") and self._model.type in METRICS:
                owner = f"the input of {call.function}"
                self._compare(text, call.offset, owner, "feature", self._model.features, inputs)

    def _check_entity_id(self, text: Rendered, offset: int, kind: Type) -> None:
        if kind.kind in _NO_STRINGS:
            self._add(text, offset, f"entity_id: {kind} does not cast to STRING; write one value, such as a column")

    def _check_fields(self, text: Rendered, offset: int, kind: Type) -> None:
        """Check the fields of a prediction, and those under drift."""
        if (kind.element or kind).kind != "STRUCT":
            message = f"prediction: {kind} is served without names; write STRUCT(... AS name)"
            self._add(text, offset, message, is_warning=True)
        for path in _nameless(kind, "prediction"):
            self._add(text, offset, f"{path}: a field of the STRUCT has no name; name it with AS")
        self._fields = dict(kind.fields)
        gate = self._pipeline.prediction_gate
        for section, names in (("drift", gate.drift), ("unchecked_fields", gate.unchecked_fields)):
            for field in names:
                if field not in self._fields:
                    there = ", ".join(self._fields) or "none"
                    reason = f"the predictions of predict.sql have no such field; there are {there}"
                elif section == "drift" and self._fields[field].kind not in _NUMBERS:
                    reason = f"the field is {self._fields[field]}; drift is measured of numbers"
                else:
                    continue
                place = ("prediction_gate", section, field)
                self._problems.append(in_yaml(self._folder, place, f"{'.'.join(place)}: {reason}"))

    def _check_outcomes(self, field: str | None) -> None:
        """Check outcomes.sql: a query with three columns, whose outcome fits the model and the compared field."""
        found = self._query(OUTCOMES_FILE)
        if found is None:
            return
        statement, text = found
        analysis = self._analyze(statement, text)
        names = [name.lower() for name in ([n for n, _ in analysis.columns] if analysis else statement.column_names)]
        start = next(iter(statement.column_offsets), statement.offset)
        if sorted(names) != _OUTCOME and (analysis or "*" not in names):
            message = f"the columns must be {', '.join(_OUTCOME)}, not {', '.join(names)}; name them with AS"
            self._add(text, start, message)
        elif analysis:
            columns = _lower(dict(analysis.columns))
            places = dict(zip(names, statement.column_offsets, strict=False))
            self._check_entity_id(text, places.get("entity_id", start), columns["entity_id"])
            kind = columns["observed_at"]
            if kind.kind != "TIMESTAMP":
                message = f"observed_at: {kind}, but must be the TIMESTAMP at which readers had the prediction"
                self._add(text, places.get("observed_at", start), message)
            if reason := self._misfit(columns["outcome"]):
                self._add(text, places.get("outcome", start), f"outcome: {columns['outcome']}; {reason}")
        self._check_compared_field(field)

    def _check_compared_field(self, field: str | None) -> None:
        if not self._fields:
            return
        there = ", ".join(self._fields)
        if field is None:
            message = f"outcomes.field: missing; name the field to compare, one of {there}"
        elif field not in self._fields:
            message = f"outcomes.field: {field}: the predictions of predict.sql have no such field; there are {there}"
        elif self._fields[field].kind not in _NUMBERS:
            message = f"outcomes.field: {field}: the field is {self._fields[field]}; a number is compared"
        else:
            return
        self._problems.append(in_yaml(self._folder, ("outcomes", "field"), message))

    def _misfit(self, outcome: Type) -> str | None:
        """The reason why an outcome of this type cannot be compared with the model's predictions; None if it can."""
        metrics = METRICS.get(self._model.type, ()) if self._model else ()
        if outcome.kind == "BOOL":
            is_right = not metrics or "roc_auc" in metrics
            return None if is_right else "a BOOL is compared with a probability, which this model does not predict"
        if outcome.kind in _NUMBERS:
            is_right = not metrics or "r2_score" in metrics
            return None if is_right else "a number is compared with one that a regression predicts; write a BOOL"
        return "write a BOOL to compare with a probability, or a number to compare with a predicted one"

    def _compare(self, text: Rendered, offset: int, owner: str, what: str, expected: Columns, found: Columns) -> None:
        """Check that columns of train.sql are there, with types that convert."""
        columns = _lower(found)
        missing = [name for name in expected if name.lower() not in columns]
        if missing:
            named = f"{what}s" if len(missing) > 1 else f"a {what}"
            message = f"{owner} has no {', '.join(missing)}, {named} of train.sql; there are {', '.join(found)}"
            self._add(text, offset, message)
        for name, kind in expected.items():
            other = columns.get(name.lower(), kind)
            kinds = {kind.kind, other.kind}
            if len(kinds) > 1 and not any(kinds <= set(coerced) for coerced in _COERCED):
                message = (
                    f"{name} of {owner} is {other}, but the {what} of train.sql is {kind}; write CAST({name} AS {kind})"
                )
                self._add(text, offset, message)

    def _check_wrappers(self) -> None:
        """Analyse the factory's statements around those of the pipeline, with and without an active version."""
        statements = Statements(self._folder, self._pipeline, PROJECT)
        string = Type("STRING")
        served = {"entity_id": string, "payload": string}
        later = Refresh(
            self._pipeline.model,
            2,
            self._refresh.dataset,
            active=1,
            champion_model=self._refresh.candidate_model,
            active_predictions_table=self._refresh.predictions_table,
            cutoff=self._refresh.cutoff,
        )
        fields = {field: f"$.{field}" for field in self._fields if PLAIN_NAME.fullmatch(field)} or {"prediction": "$"}
        made = {refresh.predictions_table: served for refresh in (self._refresh, later)}
        for name, sql in (
            ("evaluate.sql", statements.evaluate(later, compare=True)),
            ("predict.sql", statements.predict(later, self._refresh.candidate_model)),
            *(("pipeline.yaml", statements.measure(refresh, fields)) for refresh in (self._refresh, later)),
            *(("pipeline.yaml", statements.changes(refresh, "changes")) for refresh in (self._refresh, later)),
            *((OUTCOMES_FILE, sql) for sql in self._live_metrics(statements)),
        ):
            try:
                analyze(sql, self._catalog(made))
            except UnknownOutputError:
                continue
            except GoogleSqlError as error:
                line = sql[: error.offset].count("\n")
                shown = sql.splitlines()[line].strip()
                message = f"{error} at {shown!r} of the statement that a refresh runs"
                self._problems.append(Problem(self._folder / name, None, message))

    def _live_metrics(self, statements: Statements) -> list[str]:
        """The query of the live metrics, without the statements before it."""
        if not self._pipeline.outcomes or not (found := self._query(OUTCOMES_FILE)):
            return []
        analysis = self._analyze(*found)
        script = statements.live_metrics(
            CUTOFF,
            f"{self._refresh.dataset}.live_metrics",
            [ServedInterval(1, 0, 1)],
            {1: self._refresh.predictions_table},
            is_classification=analysis is not None and _lower(dict(analysis.columns))["outcome"].kind == "BOOL",
        )
        return [script[script.index("WITH\n") :]]

    def _query(self, name: str, model: str | None = None) -> tuple[Statement, Rendered] | None:
        found = self._statement(name, model)
        if found and found[0].kind != "QUERY":
            self._add(found[1], found[0].offset, f"{found[0].kind.replace('_', ' ')} is not a query; write one SELECT")
            return None
        return found

    def _statement(self, name: str, model: str | None = None) -> tuple[Statement, Rendered] | None:
        """The one statement of a file; None, and a problem, if it has an error."""
        text = self._templates.render(name, self._refresh, model)
        if isinstance(text, Problem):
            self._problems.append(text)
            return None
        try:
            statements = parse(text.sql)
        except UnknownOutputError as error:
            self._add_unknown(text, 0, error)
            return None
        except GoogleSqlError as error:
            self._add_error(text, error)
            return None
        if len(statements) == 1:
            return statements[0], text
        if statements:
            message = f"{len(statements)} statements, the second one begins here; write one, with the rest in WITH"
            self._add(text, statements[1].offset, message)
        else:
            self._add(text, 0, "no statement; write one")
        return None

    def _analyze(self, statement: Statement, text: Rendered) -> Analysis | None:
        """The analysis of a statement; None if it has an error, or cannot be analysed."""
        if self._tables is None:
            return None
        try:
            return analyze(text.sql, self._catalog())
        except UnknownOutputError as error:
            self._add_unknown(text, statement.offset, error)
            return None
        except GoogleSqlError as error:
            self._add_error(text, error, statement)
            return None

    def _catalog(self, made: Mapping[str, Columns] | None = None) -> Catalog:
        return Catalog({**(self._tables or {}), **(made or {})}, PROJECT, self._output, FUNCTIONS)

    def _output(self, call: TableFunctionCall) -> Output | None:
        model = self._model
        return model.output(call) if model and call.model[-2:] == model.name[-2:] else None

    def _add(self, text: Rendered, offset: int, message: str, *, is_warning: bool = False) -> None:
        file, line = text.place(offset)
        self._problems.append(Problem(file, line, message, is_warning))

    def _add_unknown(self, text: Rendered, offset: int, error: UnknownOutputError) -> None:
        if not self._has_errors():  # of train.sql, without which nothing is known of the model
            message = f"names and types are not checked, as it is not known what {error} returns"
            self._add(text, offset, message, is_warning=True)

    def _add_error(self, text: Rendered, error: GoogleSqlError, statement: Statement | None = None) -> None:
        """Add an error of BigQuery's, with a way out if there is a known one."""
        self._add(text, error.offset, f"{error.message.splitlines()[0]}{self._way_out(text.sql, error, statement)}")

    def _way_out(self, sql: str, error: GoogleSqlError, statement: Statement | None) -> str:
        before, rest = sql[: error.offset].rstrip(), sql[error.offset :]
        keyword = re.search(r"(?:Unexpected|got) keyword (\w+)$", error.message)
        if keyword and (keyword[1] not in _CLAUSES or re.search(r"\bAS$", before, re.IGNORECASE)):
            word = rest[: len(keyword[1])]
            return f"; if {word} is a name, choose another one, or write it in back quotes"
        if rest.startswith("::") or (rest.startswith(":") and before.endswith(":")):
            return "; BigQuery has no ::, write CAST(... AS ...)"
        if rest.startswith(")") and before.endswith(","):
            return "; remove the comma before it"
        for beginning, way_out in _WAYS_OUT.items():
            if error.message.startswith(beginning):
                return f"; {way_out.format(self._folder.name)}"
        if self._model and statement and error.message.startswith(("Unrecognized name: predicted_", "Name predicted_")):
            returned = [
                f"{call.function} of this {self._model.type} adds {', '.join(output.columns)}"
                for call in statement.calls
                if (output := self._output(call))
            ]
            return "".join(f"; {each}" for each in returned)
        return ""


def _lower(columns: Columns) -> dict[str, Type]:
    return {name.lower(): kind for name, kind in columns.items()}


def _nameless(kind: Type, path: str) -> Iterable[str]:
    """The paths of the STRUCTs inside a type that have a field without a name."""
    if any(not name for name, _ in kind.fields):
        yield path
    for name, inner in kind.fields:
        yield from _nameless(inner, f"{path}.{name}")
    if kind.element:
        yield from _nameless(kind.element, path)
