"""The tables and column families that predictions and their registry need."""

import os
import time
from contextlib import suppress

import grpc
from google.api_core.exceptions import AlreadyExists
from google.cloud.bigtable_admin_v2 import BigtableTableAdminClient
from google.cloud.bigtable_admin_v2.services.bigtable_table_admin.transports import (
    BigtableTableAdminGrpcTransport,
)
from google.cloud.bigtable_admin_v2.types import ColumnFamily, GcRule, ModifyColumnFamiliesRequest, Table

from prediction_store.instance import Instance
from prediction_store.layout import REGISTRY_FAMILY, REGISTRY_TABLE
from prediction_store.lifecycle import ModelState


class Tables:
    """Creates tables and column families. Needs the rights of a Bigtable table admin."""

    def __init__(self, instance: Instance) -> None:
        self._instance = instance
        self._client = _client()

    def ensure_registry(self) -> None:
        """Create the registry's table if it is missing."""
        self._ensure_table(REGISTRY_TABLE, {REGISTRY_FAMILY: 1})

    def ensure_model(self, state: ModelState) -> None:
        """Create the entity's table and the model's column family if missing; set how many cells it keeps."""
        self._ensure_table(state.entity_type, {state.model: state.cells_per_row})

    def wait_for_replication(self, table: str, poll_seconds: float) -> None:
        """Wait until every cluster has what was written to a table. At once where there is one cluster."""
        name = self._instance.table(table)
        token = self._client.generate_consistency_token(name=name).consistency_token
        while not self._client.check_consistency(name=name, consistency_token=token).consistent:
            time.sleep(poll_seconds)

    def _ensure_table(self, table: str, families: dict[str, int]) -> None:
        with suppress(AlreadyExists):
            self._client.create_table(parent=self._instance.name, table_id=table, table=Table())
        for family, cells in families.items():
            self._ensure_family(table, family, cells)

    def _ensure_family(self, table: str, family: str, cells: int) -> None:
        name = self._instance.table(table)
        change = ModifyColumnFamiliesRequest.Modification
        rule = ColumnFamily(gc_rule=GcRule(max_num_versions=cells))
        try:
            self._client.modify_column_families(name=name, modifications=[change(id=family, create=rule)])
        except AlreadyExists:
            self._client.modify_column_families(name=name, modifications=[change(id=family, update=rule)])


def _client() -> BigtableTableAdminClient:
    """A client of the table admin API, with the default credentials."""
    if host := os.environ.get("BIGTABLE_EMULATOR_HOST"):
        return BigtableTableAdminClient(transport=BigtableTableAdminGrpcTransport(channel=grpc.insecure_channel(host)))
    return BigtableTableAdminClient()
