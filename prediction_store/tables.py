"""Tables and column families for predictions and for the registry."""

import time
from contextlib import suppress

import grpc
from google.api_core.exceptions import AlreadyExists, NotFound
from google.cloud.bigtable_admin_v2 import BigtableTableAdminClient
from google.cloud.bigtable_admin_v2.services.bigtable_table_admin.transports import (
    BigtableTableAdminGrpcTransport,
)
from google.cloud.bigtable_admin_v2.types import ColumnFamily, GcRule, ModifyColumnFamiliesRequest, Table

from prediction_store.connection import emulator_address
from prediction_store.layout import REGISTRY_FAMILY, REGISTRY_TABLE, Instance
from prediction_store.lifecycle import ModelState


class Tables:
    """Creates tables and column families. Needs the rights of a Bigtable table administrator."""

    def __init__(self, instance: Instance) -> None:
        self._instance = instance
        self._client = _client()

    def ensure_registry(self) -> None:
        """Create the registry's table if it does not exist."""
        self._ensure(REGISTRY_TABLE, REGISTRY_FAMILY, 1)

    def ensure_model(self, state: ModelState) -> None:
        """Create the table of the model's entity type and the model's column family if they do not exist.

        Garbage collection of the family then keeps `state.cells_per_row` cells.
        """
        self._ensure(state.entity_type, state.model, state.cells_per_row)

    def drop_family(self, state: ModelState) -> bool:
        """Delete the model's column family with all its cells; return False if there is none."""
        table = self._instance.table(state.entity_type)
        try:
            if state.model not in self._client.get_table(name=table).column_families:
                return False
        except NotFound:
            return False
        drop = ModifyColumnFamiliesRequest.Modification(id=state.model, drop=True)
        self._client.modify_column_families(name=table, modifications=[drop])
        return True

    def wait_for_replication(self, table: str, poll_seconds: float, patience: float) -> bool:
        """Wait until every cluster has what was written to a table before this call; return False if time ran out.

        Args:
            table: the table's id.
            poll_seconds: the pause between two checks. An instance of one cluster passes the first check.
            patience: the largest number of seconds to wait.
        """
        name = self._instance.table(table)
        token = self._client.generate_consistency_token(name=name).consistency_token
        end = time.monotonic() + patience
        while not self._client.check_consistency(name=name, consistency_token=token).consistent:
            if time.monotonic() >= end:
                return False
            time.sleep(poll_seconds)
        return True

    def _ensure(self, table: str, family: str, cells: int) -> None:
        with suppress(AlreadyExists):
            self._client.create_table(parent=self._instance.name, table_id=table, table=Table())
        name = self._instance.table(table)
        change = ModifyColumnFamiliesRequest.Modification
        rule = ColumnFamily(gc_rule=GcRule(max_num_versions=cells))
        try:
            self._client.modify_column_families(name=name, modifications=[change(id=family, create=rule)])
        except AlreadyExists:
            self._client.modify_column_families(name=name, modifications=[change(id=family, update=rule)])


def _client() -> BigtableTableAdminClient:
    if address := emulator_address():
        emulator = BigtableTableAdminGrpcTransport(channel=grpc.insecure_channel(address))
        return BigtableTableAdminClient(transport=emulator)
    return BigtableTableAdminClient()
