"""The documentation of a DAG, its groups and its tasks in Airflow's UI, in Markdown."""

from refresh_factory.pipeline import Pipeline

GROUPS = {
    "Prepare": "Opens a version.",
    "Train": "Trains a BigQuery model, and compares it with the rules and the champion.",
    "Predict": "Predicts for every entity, and compares the predictions with the rules and the active version.",
    "Export": "Writes the changes to Bigtable.",
    "Release": "Tests the new version, and promotes it. After a failure, aborts it.",
}
"""Texts of the task groups, by group id."""

TASKS = {
    "open_version": "Opens a version in the registry. From then on, no earlier version can be exported or promoted.",
    "retrain": "Chooses the next task by the trigger form: the training, or the prediction with the champion.",
    "train": "Runs `train.sql` in BigQuery. The BigQuery model is named after the version.",
    "evaluate": (
        "Runs `ML.EVALUATE` on the candidate (the BigQuery model of this refresh) and on the champion (that of the "
        "active version), with the same rows: those of `evaluate.sql`."
    ),
    "quality_gate": (
        "Compares the metrics with the rules under `quality_gate`. On a breach, it keeps the champion, stops, or asks "
        "(`on_breach`). The decision is recorded with the version."
    ),
    "kept_champion": "Succeeds if the gate kept the champion; is skipped if not. The log has the breaches.",
    "predict": "Runs `predict.sql` in BigQuery, which encodes each prediction as JSON.",
    "measure": "Measures the predictions in BigQuery, by themselves and against the active version.",
    "prediction_gate": (
        "Stops if the predictions have errors (null or repeated ids, sizes). Then compares them with the rules under "
        "`prediction_gate`. On a breach, it stops, or asks (`on_breach`). The decision is recorded with the version."
    ),
    "changes": "Finds the predictions that differ from the active version, and those that are gone.",
    "prepare_export": "Announces the export in the registry. Chooses the purge if there are stale cells.",
    "purge": (
        "Beam job: deletes the stale cells, which an aborted export or a rollback left above the active version. It "
        "runs in the task if it has few rows."
    ),
    "await_purge": "Waits until the purge on Dataflow has ended, and logs its counters.",
    "export": (
        "Beam job: writes the changes to Bigtable, and a receipt to the registry. It runs in the task if it has few "
        "rows; the log names the runner."
    ),
    "await_export": "Waits until the export on Dataflow has ended, and logs its counters.",
    "wait_for_replication": "Waits until every cluster of Bigtable has the cells.",
    "smoke_test": (
        "Looks entities up in the new version at a set rate. Compares the latency with the objective, and every answer "
        "with BigQuery. The button *Latency report* shows the figures."
    ),
    "promote": (
        "Makes the version the active one, by a compare-and-set in the registry. Refused unless it is complete. Ends "
        "the run here if the trigger form says so."
    ),
    "confirm": "Waits until the lookup service answers from the new version.",
    "clean_up": "Drops the BigQuery models and tables of versions that can be neither read nor rolled back to.",
    "abort": "Runs after a failure. Readers stay, or go back, where they were; the version is aborted.",
}
"""Texts of the tasks, by task id."""

OUTCOMES_TASK = (
    "Runs `outcomes.sql`, joins each outcome with the prediction that readers had at `observed_at`, and writes the "
    "live metrics by version to the BigQuery table `MODEL_live_metrics` and to the registry. Breaches of the quality "
    "gate's rules are in the log."
)
"""The text of the task that compares predictions with outcomes."""


def dag_documentation(pipeline: Pipeline) -> str:
    """The documentation of a pipeline's DAG."""
    quality_gate, prediction_gate, smoke_test = pipeline.quality_gate, pipeline.prediction_gate, pipeline.smoke_test
    starts = pipeline.schedule or ", ".join(f"update of `{uri}`" for uri in pipeline.assets) or "by hand only"
    return "\n".join(
        [
            f"# {pipeline.model}",
            "",
            pipeline.description,
            "",
            f"Trains, predicts for every **{pipeline.entity_type}**, exports the changes to Bigtable, tests, promotes.",
            "If anything fails, readers keep the version that they had.",
            "",
            f"- Starts: {starts}",
            f"- Readable versions: the newest {pipeline.keep_versions}; trigger `roll_back` to go back to one",
            f"- Served at `/v1/models/{pipeline.model}/predictions/ID` of the lookup service",
            "",
            f"**Quality gate** (on a breach: `{quality_gate.on_breach}`)",
            "",
            "| metric | rule |",
            "| --- | --- |",
            *(f"| `{metric}` | {rule} |" for metric, rule in quality_gate.in_words().items()),
            "",
            f"**Prediction gate**, against the active version (on a breach: `{prediction_gate.on_breach}`)",
            "",
            *(f"- {rule}" for rule in prediction_gate.in_words()),
            "",
            f"**Smoke test**: {smoke_test.requests:,} lookups at {smoke_test.rate:g} a second; 99 % of them within",
            f"{smoke_test.objective_p99_ms:g} ms, and every answer right",
            "",
            "| task | what it does |",
            "| --- | --- |",
            *(f"| `{task_id}` | {text} |" for task_id, text in TASKS.items()),
        ]
    )
