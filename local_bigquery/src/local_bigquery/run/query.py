"""Runs query jobs.

The emulator runs a job as it came, unless the gateway must run it step by step (see `routing`). The last statement of a
job always runs on the emulator under the id of the job, so that results, resource and errors are the emulator's.
"""

from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

from sqlglot.errors import SqlglotError

from local_bigquery.backend.emulator import Emulator, JobResource, Result
from local_bigquery.errors import BigQueryError, invalid_query
from local_bigquery.ml.registry import ModelRegistry
from local_bigquery.run.analysis import Names, StatementAnalyzer
from local_bigquery.run.jobs import QueryJob
from local_bigquery.run.scratch import Scratch
from local_bigquery.run.script import ScriptRun
from local_bigquery.run.statement import StatementRun, dry_run_on_emulator
from local_bigquery.sql.parameters import Parameter, with_named_parameters, with_parameters
from local_bigquery.sql.scripts import Assert, Sql, parse_script, sql_texts
from local_bigquery.sql.statements import OtherStatement, Statement, parse


class QueryRunner:
    """Runs query jobs.

    Args:
        emulator: runs the SQL.
        models: the trained models.
        project: the project of the temporary tables.
        directory: a directory for files with rows.
        analyzer: analyses each statement before it runs; None to leave that out.
    """

    def __init__(
        self,
        emulator: Emulator,
        models: ModelRegistry,
        project: str,
        directory: Path,
        analyzer: StatementAnalyzer | None = None,
    ) -> None:
        self._emulator = emulator
        self._models = models
        self._project = project
        self._directory = directory
        self._analyzer = analyzer

    async def run(self, job: QueryJob, *, is_analysed: bool = False) -> JobResource:
        """Run a job and return its resource from the emulator.

        Args:
            job: the job.
            is_analysed: its statement has been analysed.

        Raises:
            BigQueryError: the job failed.
        """
        steps = job.gateway_steps()
        changes_tables = not is_analysed and await self.analyze(job)
        try:
            if steps is None:
                return await self._emulator.insert_job(job.project, job.job_id, job.configuration)
            if not steps:
                raise invalid_query("The query contains no statement")
            named = job.with_query(with_named_parameters(job.query))
            async with self.scratch() as scratch:
                analyzer = self._analyzer if _script_type(job.sql) else None
                run = ScriptRun(_StatementRunner(self, named, analyzer), scratch)
                return await run.run(parse_script(named.sql))
        finally:
            if changes_tables:
                self.forget_tables()

    async def analyze(self, job: QueryJob) -> bool:
        """Analyse the statement of a job, or the syntax of a script; return True if it may change tables.

        Raises:
            BigQueryError: BigQuery would refuse it.
        """
        if self._analyzer is None or job.is_legacy_sql:
            return True
        if _script_type(job.sql) is None:
            return await self._analyzer.check(job.sql, job)
        await self._analyzer.check_syntax(job.sql)
        return True

    async def dry_run(self, job: QueryJob) -> dict[str, Any]:
        """Return the `statistics.query` of a job that is checked but not run.

        Raises:
            BigQueryError: the job would fail.
        """
        await self.analyze(job)
        kind = None if job.is_legacy_sql else _script_type(job.sql)
        if kind is not None:
            return {"statementType": kind}
        if job.gateway_steps() is None:
            return await dry_run_on_emulator(self._emulator, job)
        job = job.with_query(with_named_parameters(job.query))
        (text,) = sql_texts(parse_script(job.sql))
        try:
            return await self._dry_run_statement(job, parse(text), with_rows=False)
        except BigQueryError:
            # Either the statement is invalid, or one of its functions cannot run without rows.
            return await self._dry_run_statement(job, parse(text), with_rows=True)

    async def _dry_run_statement(self, job: QueryJob, statement: Statement, *, with_rows: bool) -> dict[str, Any]:
        async with self.scratch(with_rows=with_rows) as scratch:
            return await self.statement_run(job, scratch).dry_run(statement)

    def forget_tables(self) -> None:
        """Forget the columns of all tables: another request may have changed them."""
        if self._analyzer is not None:
            self._analyzer.forget()

    def statement_run(self, job: QueryJob, scratch: Scratch) -> StatementRun:
        """Return the run of a statement of a job."""
        return StatementRun(self._emulator, self._models, scratch, job)

    def scratch(self, *, with_rows: bool = True) -> AbstractAsyncContextManager[Scratch]:
        """Open a context with temporary tables (see `Scratch.open`)."""
        return Scratch.open(self._emulator, self._project, self._directory, with_rows=with_rows)


class _StatementRunner:
    """Runs the statements of a script, each with temporary tables of its own."""

    def __init__(self, runner: QueryRunner, job: QueryJob, analyzer: StatementAnalyzer | None) -> None:
        self._runner = runner
        self._job = job
        self._analyzer = analyzer

    async def check(self, sql: str, names: Names, parameters: Sequence[Parameter] = (), *, shown: str = "") -> None:
        if self._analyzer is None:
            return
        text = shown or sql
        begin = self._job.sql.find(text)
        place = (self._job.sql, begin - sql.find(text)) if begin >= 0 else None
        job = self._job.with_query(with_parameters(self._job.query, parameters))
        if await self._analyzer.check(sql, job, names, place=place):
            self._analyzer.forget()

    async def run(self, statement: Statement, parameters: Sequence[Parameter]) -> JobResource:
        async with self._runner.scratch() as scratch:
            return await self._statement_run(scratch, parameters).run(statement)

    async def run_nothing(self) -> JobResource:
        async with self._runner.scratch() as scratch:
            return await self._statement_run(scratch, ()).run_nothing()

    async def rows(self, statement: OtherStatement, parameters: Sequence[Parameter]) -> Result:
        async with self._runner.scratch() as scratch:
            return await self._statement_run(scratch, parameters).rows(statement)

    def _statement_run(self, scratch: Scratch, parameters: Sequence[Parameter]) -> StatementRun:
        job = self._job.with_query(with_parameters(self._job.query, parameters))
        return self._runner.statement_run(job, scratch)


def _script_type(sql: str) -> str | None:
    """Return the statement type of a script, or None if a text is a single statement of plain SQL."""
    try:
        steps = parse_script(sql)
    except SqlglotError:
        return None  # the emulator reports the error
    match steps:
        case (Sql(),):
            return None
        case (Assert(),):
            return "ASSERT"
    return "SCRIPT"
