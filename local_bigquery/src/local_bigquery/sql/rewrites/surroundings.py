"""What a rewrite may ask about the world that a statement runs in."""

from typing import Protocol

from sqlglot import exp

from local_bigquery.backend.emulator import TableName
from local_bigquery.run.scratch import Schema


class Surroundings(Protocol):
    """Answers the questions of rewrites."""

    async def schema(self, query: exp.Query) -> Schema | None:
        """Return the columns of a query, or None if it cannot be run."""

    async def models_table(self, project: str | None, dataset: str) -> TableName:
        """Return a table that lists the models of a dataset, or of a region's datasets; None is the job's project.

        Raises:
            BigQueryError: `notFound`, if there is no such dataset.
        """
