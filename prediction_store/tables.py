"""The tables and column families that predictions and their registry need."""

from google.api_core.exceptions import AlreadyExists
from google.cloud.bigtable_admin_v2 import BigtableTableAdminClient
from google.cloud.bigtable_admin_v2.types import ColumnFamily, GcRule, ModifyColumnFamiliesRequest, Table

from prediction_store import registry
from prediction_store.connection import Instance


class Tables:
    """Creates tables and column families. Needs the rights of a Bigtable table admin."""

    def __init__(self, instance: Instance, client: BigtableTableAdminClient) -> None:
        self._instance = instance
        self._client = client

    def ensure_registry(self) -> None:
        """Create the registry's table if it is missing."""
        self._ensure_table(registry.TABLE, {registry.FAMILY: 1})

    def ensure_model(self, entity_type: str, model: str, keep_versions: int) -> None:
        """Create the entity's table and the model's column family if missing; set how many cells it keeps.

        One cell more than `keep_versions`: the version that is being exported must not push out one that can be read.
        """
        self._ensure_table(entity_type, {})
        self._ensure_family(entity_type, model, keep_versions + 1)

    def _ensure_table(self, table: str, families: dict[str, int]) -> None:
        name = self._instance.table(table)
        parent = name.removesuffix(f"/tables/{table}")
        try:
            self._client.create_table(
                parent=parent,
                table_id=table,
                table=Table(column_families={f: _family(n) for f, n in families.items()}),
            )
        except AlreadyExists:
            for family, cells in families.items():
                self._ensure_family(table, family, cells)

    def _ensure_family(self, table: str, family: str, cells: int) -> None:
        name = self._instance.table(table)
        modification = ModifyColumnFamiliesRequest.Modification
        try:
            change = modification(id=family, create=_family(cells))
            self._client.modify_column_families(name=name, modifications=[change])
        except AlreadyExists:
            change = modification(id=family, update=_family(cells))
            self._client.modify_column_families(name=name, modifications=[change])


def _family(cells: int) -> ColumnFamily:
    return ColumnFamily(gc_rule=GcRule(max_num_versions=cells))
