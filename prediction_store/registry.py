"""The version registry: one row per model in a small Bigtable table, changed by compare-and-set.

A row holds the model's state as one JSON document, and a revision number. A step reads both and computes the next
state. One CheckAndMutateRow writes it if the revision is still the same; else the step is tried again. So steps are
atomic, and concurrent steps are made one after the other.
"""

from collections.abc import Callable, Iterator
from typing import Self

from google.cloud.bigtable.data import BigtableDataClient, Mutation, ReadRowsQuery, SetCell
from google.cloud.bigtable.data.row_filters import (
    CellsColumnLimitFilter,
    ColumnQualifierRegexFilter,
    FamilyNameRegexFilter,
    RowFilterChain,
    ValueRegexFilter,
)

from prediction_store.layout import REGISTRY_DOCUMENT, REGISTRY_FAMILY, REGISTRY_REVISION, REGISTRY_TABLE, Instance
from prediction_store.lifecycle import ModelState, RegistryBusyError, RegistryError

_NEWEST = CellsColumnLimitFilter(1)
_ATTEMPTS = 10

Step = Callable[[ModelState], ModelState]


class Registry:
    """Reads and changes the states of models. One per process. Close it, or use it as a context manager."""

    def __init__(self, instance: Instance, app_profile: str = "") -> None:
        """Connect to the registry.

        Args:
            instance: where the registry table is.
            app_profile: an app profile that routes to a single cluster and allows single-row transactions. Bigtable
                refuses conditional writes through any other. Empty for the instance's default.
        """
        self._client = BigtableDataClient(project=instance.project)
        self._table = self._client.get_table(instance.instance, REGISTRY_TABLE, app_profile_id=app_profile or None)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection to Bigtable."""
        self._table.close()
        self._client.close()

    def models(self) -> Iterator[ModelState]:
        """The state of every model."""
        for row in self._table.read_rows_stream(ReadRowsQuery(row_filter=_NEWEST)):
            yield ModelState.from_json(row.get_cells(REGISTRY_FAMILY, REGISTRY_DOCUMENT)[0].value)

    def find(self, model: str) -> ModelState | None:
        """The state of a model; None if the registry does not have the model."""
        return self._read(model)[0]

    def get(self, model: str) -> ModelState:
        """The state of a model.

        Raises:
            RegistryError: the registry does not have the model.
        """
        state = self.find(model)
        if state is None:
            raise RegistryError(f"{model}: the registry does not have this model; run its refresh first")
        return state

    def register(self, settings: ModelState) -> ModelState:
        """Add a model, or adopt its settings (entity type, row keys, versions to keep) if the registry has it.

        Returns:
            The new state.

        Raises:
            RegistryError: the entity type or the row keys would change although versions exist.
        """
        return self._change(settings.model, lambda state: settings if state is None else state.configure(settings))

    def update(self, model: str, step: Step) -> ModelState:
        """Make one step in the life of a model's versions.

        Args:
            model: the model's name.
            step: a function from the current state to the next. It is called again if another writer was faster.

        Returns:
            The new state.

        Raises:
            RegistryError: the step is not allowed, the model is unknown, or other writers were faster ten times.
        """

        def known(state: ModelState | None) -> ModelState:
            if state is None:
                raise RegistryError(f"{model}: the registry does not have this model; run its refresh first")
            return step(state)

        return self._change(model, known)

    def _change(self, model: str, step: Callable[[ModelState | None], ModelState]) -> ModelState:
        for _ in range(_ATTEMPTS):
            current, revision = self._read(model)
            new = step(current)
            if new == current or self._write(new, revision):
                return new
        raise RegistryBusyError(f"{model}: another writer was faster {_ATTEMPTS} times in a row; nothing was changed")

    def _read(self, model: str) -> tuple[ModelState | None, int]:
        row = self._table.read_row(model, row_filter=_NEWEST)
        if row is None:
            return None, 0
        return (
            ModelState.from_json(row.get_cells(REGISTRY_FAMILY, REGISTRY_DOCUMENT)[0].value),
            int(row.get_cells(REGISTRY_FAMILY, REGISTRY_REVISION)[0].value),
        )

    def _write(self, state: ModelState, revision: int) -> bool:
        """Write a state if the row is still at `revision`, which is 0 for a new row; return True if it was written."""
        newest_revision = [
            FamilyNameRegexFilter(REGISTRY_FAMILY),
            ColumnQualifierRegexFilter(REGISTRY_REVISION),
            _NEWEST,
        ]
        # The revision, and no clock, gives the timestamp: the newest cell must be that of the last revision.
        timestamp = (revision + 1) * 1000
        mutations: list[Mutation] = [
            SetCell(REGISTRY_FAMILY, REGISTRY_DOCUMENT, state.to_json(), timestamp),
            SetCell(REGISTRY_FAMILY, REGISTRY_REVISION, str(revision + 1).encode(), timestamp),
        ]
        if revision == 0:
            found = self._table.check_and_mutate_row(
                state.model, RowFilterChain(newest_revision), false_case_mutations=mutations
            )
            return not found
        is_current = RowFilterChain([*newest_revision, ValueRegexFilter(str(revision).encode())])
        return self._table.check_and_mutate_row(state.model, is_current, true_case_mutations=mutations)
