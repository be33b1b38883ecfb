"""The stores that a command works on: the registry and the predictions in Bigtable, and the tables in BigQuery.

Variables name them as they do for the DAGs: `FORESERVE_PROJECT`, `FORESERVE_BIGTABLE_INSTANCE`, `FORESERVE_DATASET`,
`FORESERVE_REGISTRY_APP_PROFILE`. Without `FORESERVE_PROJECT`, the local stack that runs in this folder is used.
Credentials are those that Google's libraries find.
"""

import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from google.auth.credentials import AnonymousCredentials
from google.cloud import bigquery

from prediction_store.connection import emulator_address, read_rows, routing_metadata, shared_channel
from prediction_store.layout import Instance, row_key
from prediction_store.lifecycle import ModelState, VersionRecord
from prediction_store.local_environment import use_local_stack
from prediction_store.messages import ReadRowsRequest, RowAssembler, RowFilter, prediction_filter, read_request
from prediction_store.registry import Registry

_READ_SECONDS = 3600.0
"""The longest that one read may take: that of a whole table."""

_RETRY_SECONDS = 10.0


class StoresError(Exception):
    """The stores are not known, or do not have what a command needs. The message says the way out."""


@dataclass(frozen=True, slots=True)
class Stores:
    """The stores of one environment.

    Attributes:
        instance: the Bigtable instance.
        dataset: PROJECT.DATASET of the refreshes' BigQuery models and tables.
        app_profile: the app profile of the registry; empty for the instance's default.
        is_local: True for the emulators of a local stack.
    """

    instance: Instance
    dataset: str
    app_profile: str
    is_local: bool

    @classmethod
    def find(cls, folder: Path) -> Self:
        """The stores that the environment variables name, or else the local stack of a folder or of one above it.

        Raises:
            StoresError: there is neither, or a variable is missing.
        """
        if not os.environ.get("FORESERVE_PROJECT") and not use_local_stack(folder):
            raise StoresError(
                "FORESERVE_PROJECT is not set, and no local stack runs in this folder; make up starts one, or set "
                "FORESERVE_PROJECT and FORESERVE_BIGTABLE_INSTANCE, as the DAGs have them"
            )
        project, instance = os.environ["FORESERVE_PROJECT"], os.environ.get("FORESERVE_BIGTABLE_INSTANCE")
        if not instance:
            raise StoresError("FORESERVE_BIGTABLE_INSTANCE is not set; give the id of the Bigtable instance")
        return cls(
            Instance(project, instance),
            f"{project}.{os.environ.get('FORESERVE_DATASET', 'foreserve')}",
            os.environ.get("FORESERVE_REGISTRY_APP_PROFILE", ""),
            emulator_address() is not None,
        )

    @property
    def title(self) -> str:
        """The name for people."""
        return "the local stack" if self.is_local else self.instance.name

    def registry(self) -> Registry:
        """The registry."""
        return Registry(self.instance, self.app_profile, _RETRY_SECONDS)

    def bigquery(self) -> bigquery.Client:
        """A client of BigQuery."""
        if os.environ.get("BIGQUERY_EMULATOR_HOST"):
            return bigquery.Client(self.instance.project, credentials=AnonymousCredentials())
        return bigquery.Client(self.instance.project)

    def payloads(self, state: ModelState, version: int, entity_ids: Iterable[str]) -> Mapping[str, bytes]:
        """The payloads of a readable version in Bigtable by entity id. An entity without a prediction is left out.

        Raises:
            ValueError: an entity id is empty or too long.
        """
        keys = {row_key(entity_id, state.row_keys): entity_id for entity_id in entity_ids}
        request = read_request(self._table(state), "", keys, prediction_filter({state.model: version}))
        return {keys[key]: payload for key, payload in self._rows(state, request) if payload}

    def count_predictions(self, state: ModelState, version: int) -> int:
        """The number of rows in Bigtable that have a prediction at a version. Reads the whole table."""
        rule = prediction_filter({state.model: version})
        rule.chain.filters.extend(
            [RowFilter(value_regex_filter=rb"\C+"), RowFilter(strip_value_transformer=True)],  # a tombstone is empty
        )
        request = ReadRowsRequest(table_name=self._table(state), filter=rule)
        return sum(1 for _ in self._rows(state, request))

    def _table(self, state: ModelState) -> str:
        return self.instance.table(state.entity_type)

    def _rows(self, state: ModelState, request: object) -> Iterator[tuple[bytes, bytes]]:
        """The rows that a request for one model selects: key and payload."""
        assembler = RowAssembler()
        metadata = (routing_metadata(self._table(state), ""),)
        for response in read_rows(shared_channel())(request, timeout=_READ_SECONDS, metadata=metadata):
            for key, values in assembler.feed(response):
                yield key, values[state.model]
        assembler.finish()


def record_of(state: ModelState, version: int) -> VersionRecord:
    """The record of a version.

    Raises:
        StoresError: the registry does not have the version.
    """
    if version not in state.versions:
        known = ", ".join(map(str, sorted(state.versions, reverse=True))) or "none"
        raise StoresError(f"{state.model}: no version {version}; the registry has: {known}")
    return state.versions[version]
