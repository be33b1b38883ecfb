"""INFORMATION_SCHEMA.MODELS, of a dataset or a region."""

from sqlglot import exp

from local_bigquery.sql.ml_calls import rename
from local_bigquery.sql.rewrites.surroundings import Surroundings

_VIEW = "INFORMATION_SCHEMA.MODELS"


async def models_view(tree: exp.Expr, surroundings: Surroundings) -> None:
    """Put tables that list models in the place of the view.

    Raises:
        BigQueryError: `notFound`, if there is no such dataset.
    """
    found = [table for table in tree.find_all(exp.Table) if table.db and table.name.upper() == _VIEW]
    for table in found:
        listed = await surroundings.models_table(table.catalog or None, table.db)
        if not table.alias or table.alias.upper().endswith(_VIEW):
            table.set("alias", exp.TableAlias(this=exp.to_identifier("MODELS")))
        rename(table, listed.project, listed.dataset, listed.table)
