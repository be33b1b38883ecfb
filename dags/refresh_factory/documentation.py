"""What the DAG and its tasks say of themselves in Airflow, in Markdown."""

from foreserve.quality_gate import MetricRule
from refresh_factory.pipeline import Pipeline

TASKS = {
    "open_version": "Opens a version in the registry. Versions that were opened before and not promoted are shut out.",
    "retrain": "Goes on with the training, or with the model in use, as the trigger form says.",
    "train": "Runs `train.sql` in BigQuery. The model is named after the version.",
    "evaluate": (
        "Runs `ML.EVALUATE` on the new model (candidate) and the one in use (champion), on the same rows: those of "
        "`evaluate.sql`."
    ),
    "quality_gate": (
        "Compares the metrics with the rules under `quality_gate`. Where one is broken: keeps the model in use, stops, "
        "or asks (`when_closed`). The decision is recorded with the version."
    ),
    "predict": "Runs `predict.sql` in BigQuery, which encodes each prediction as JSON.",
    "check": "Measures the predictions in BigQuery, in themselves and against the served ones.",
    "prediction_gate": (
        "Stops if the predictions cannot be served (null or repeated ids, sizes). Where a rule under `checks` is "
        "broken: stops, or asks (`when_closed`). The decision is recorded with the version."
    ),
    "changes": "Finds what differs from the served version, and what vanished.",
    "prepare_export": "Announces the export in the registry; decides whether stale cells must be purged first.",
    "purge": "Beam job: deletes the cells that an aborted export or a rollback left above the served version.",
    "await_purge": "Waits until the purge on Dataflow has ended, and logs its counters.",
    "export": "Beam job: writes the changes to Bigtable, and leaves a receipt in the registry.",
    "await_export": "Waits until the export on Dataflow has ended, and logs its counters.",
    "wait_for_replication": "Waits until every cluster of Bigtable has the cells.",
    "smoke_test": (
        "Puts a load on the lookup service, reading the new version, before anyone is served from it: latency, and "
        "every answer compared with BigQuery's. The button *Latency report* leads to what it measured."
    ),
    "may_promote": "Ends the run here if the trigger form says so.",
    "promote": "Switches readers over: a compare-and-set in the registry, refused unless the version is complete.",
    "confirm": "Waits until the lookup service answers from the new version.",
    "clean_up": "Drops the models and tables that no servable version needs.",
    "abort": "After a failure: readers stay, or go back, where they were; the version is aborted.",
}
"""By task id."""


def dag_documentation(pipeline: Pipeline) -> str:
    """What the pipeline does, from its `pipeline.yaml`."""
    checks, smoke_test = pipeline.checks, pipeline.smoke_test
    gate = [f"| `{metric}` | {_in_words(rule)} |" for metric, rule in pipeline.quality_gate.metrics.items()]
    bounds = [
        f"- {text}"
        for value, text in (
            (checks.max_row_change, f"their number changes by at most {checks.max_row_change:.0%}"),
            (checks.max_changed, f"at most {checks.max_changed or 0:.0%} of them change"),
        )
        if value is not None
    ]
    bounds += [
        f"- the population stability index of `{field}` is at most {rule.max_psi:g}"
        for field, rule in checks.drift.items()
    ]
    starts = pipeline.schedule or ", ".join(f"update of `{uri}`" for uri in pipeline.assets) or "by hand only"
    return "\n".join(
        [
            f"# {pipeline.model}",
            "",
            pipeline.description,
            "",
            f"Trains, predicts for every **{pipeline.entity_type}**, exports what changed to Bigtable, tests, switches",
            "readers over. If anything fails, readers stay exactly where they were.",
            "",
            f"- Starts: {starts}",
            f"- Readable versions: the newest {pipeline.keep_versions}; trigger `roll_back` to go back to one",
            f"- Served at `/v1/models/{pipeline.model}/predictions/ID` of the lookup service",
            "",
            f"**Quality gate** (when closed: `{pipeline.quality_gate.when_closed}`)",
            "",
            "| metric | rule |",
            "| --- | --- |",
            *gate,
            "",
            f"**Checks of the predictions** against the served ones (when closed: `{checks.when_closed}`)",
            "",
            *(bounds or ["- none"]),
            "",
            f"**Smoke test**: {smoke_test.requests:,} lookups at {smoke_test.rate:g} a second; 99 % of them within",
            f"{smoke_test.objective_p99_ms:g} ms, and every answer right",
            "",
            "| task | what it does |",
            "| --- | --- |",
            *(f"| `{task_id}` | {text} |" for task_id, text in TASKS.items()),
        ]
    )


def _in_words(rule: MetricRule) -> str:
    bounds = (
        (rule.minimum, "at least {:g}"),
        (rule.maximum, "at most {:g}"),
        (rule.max_drop, "at most {:g} below the model in use"),
        (rule.max_rise, "at most {:g} above the model in use"),
    )
    return ", ".join(text.format(value) for value, text in bounds if value is not None)
