"""The version registry: one row per model in a small Bigtable table, changed by compare-and-set.

A row has three cells: the model's state as a JSON document, a revision number, and the end of the write lease. A step
reads all three and computes the next state. One CheckAndMutateRow writes it if revision and lease are still the same;
else the step is tried again. So steps are atomic, and concurrent steps are made one after the other.

A revision is the time of its write in milliseconds since the epoch, or one more than the last revision if the clock is
behind that. So revisions grow even if the row was deleted or restored from a backup in between, and a reader can ignore
each revision that is older than one that it knows.

The lease changes every ten seconds of an export. It is a cell of its own, so that a renewal writes a few bytes, and
neither document nor revision.
"""

import random
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, TypeVar

import grpc

from prediction_store.connection import (
    check_and_mutate_row,
    is_transient,
    read_rows,
    routing_metadata,
    shared_channel,
)
from prediction_store.layout import (
    REGISTRY_DOCUMENT,
    REGISTRY_FAMILY,
    REGISTRY_REVISION,
    REGISTRY_TABLE,
    REGISTRY_TIMESTAMP,
    REGISTRY_WRITE_LEASE,
    Instance,
)
from prediction_store.lifecycle import ModelState, RegistryBusyError, RegistryError, now_ms
from prediction_store.messages import (
    CellAssembler,
    CheckAndMutateRowRequest,
    RowFilter,
    newest_by_column,
    read_request,
    registry_filter,
)

_ATTEMPTS = 10
_CALL_SECONDS = 5.0
_FIRST_DELAY = 0.1  # seconds
_LARGEST_DELAY = 5.0

Step = Callable[[ModelState], ModelState]
_Result = TypeVar("_Result")


@dataclass(frozen=True, slots=True)
class _Row:
    """The cells of a row; `_NO_ROW` if it does not exist. An earlier checkout left a row without `write_lease`."""

    document: bytes | None
    revision: int
    write_lease: bytes | None

    @classmethod
    def of(cls, cells: dict[bytes, bytes]) -> "_Row":
        """The row that has these cells, by column.

        Raises:
            RegistryError: the row has no revision number.
        """
        try:
            revision = int(cells[REGISTRY_REVISION])
        except (KeyError, ValueError) as error:
            raise RegistryError(f"not a row of the registry: {cells!r:.200}") from error
        return cls(cells.get(REGISTRY_DOCUMENT, b""), revision, cells.get(REGISTRY_WRITE_LEASE))

    def state(self) -> ModelState | None:
        """The model's state; None if the row does not exist.

        Raises:
            RegistryError: the row is not one that this release understands.
        """
        if self.document is None:
            return None
        try:
            return ModelState.from_json(self.document, None if self.write_lease is None else int(self.write_lease))
        except ValueError as error:
            raise RegistryError(f"not a write lease that this release understands: {self.write_lease!r}") from error

    def followed_by(self, state: ModelState) -> "_Row":
        """The row that a step to another state leaves."""
        document, lease = state.to_json(), str(state.write_lease_until).encode()
        if document == self.document and self.write_lease is not None:
            return _Row(document, self.revision, lease)
        return _Row(document, max(self.revision + 1, time.time_ns() // 1_000_000), lease)


_NO_ROW = _Row(None, 0, None)


class Registry:
    """Reads and changes the states of models, over the shared channel of this process. Thread-safe.

    Calls that fail with a transient error are tried again. All methods raise `grpc.RpcError` if that does not help.
    """

    def __init__(self, instance: Instance, app_profile: str = "", retry_seconds: float = 60) -> None:
        """Use the registry of an instance.

        Args:
            instance: where the registry table is.
            app_profile: an app profile that routes to a single cluster and allows single-row transactions. Bigtable
                refuses conditional writes through any other. Empty for the instance's default.
            retry_seconds: the time for which a failing call is tried again.
        """
        channel = shared_channel()
        self._read_rows = read_rows(channel)
        self._check_and_mutate_row = check_and_mutate_row(channel)
        self._table = instance.table(REGISTRY_TABLE)
        self._app_profile = app_profile
        self._retry_seconds = retry_seconds
        self._metadata = (routing_metadata(self._table, app_profile),)

    def models(self) -> Iterator[ModelState]:
        """The state of every model."""
        for row in self._retried(self._read).values():
            if state := row.state():
                yield state

    def find(self, model: str) -> ModelState | None:
        """The state of a model; None if the registry does not have the model."""
        return self._retried(lambda: self._row(model)).state()

    def get(self, model: str) -> ModelState:
        """The state of a model.

        Raises:
            RegistryError: the registry does not have the model.
        """
        return _known(model, self.find(model))

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
        return self._change(model, lambda state: step(_known(model, state)))

    def remove(self, state: ModelState) -> bool:
        """Delete the row of a model; return False if its state is another by now, and nothing was deleted."""
        row = self._retried(lambda: self._row(state.model))
        if row.state() != state:
            return False
        request = self._conditional_request(state.model, row)
        request.true_mutations.add().delete_from_row.SetInParent()
        # A second try that finds no row says that the first one has deleted it.
        self._retried(lambda: self._check_and_mutate_row(request, timeout=_CALL_SECONDS, metadata=self._metadata))
        return self._retried(lambda: self._row(state.model)) is _NO_ROW

    def _change(self, model: str, step: Callable[[ModelState | None], ModelState]) -> ModelState:
        """Make a step.

        The outcome of a write that failed is unknown. If the row then has the document and the revision of that write,
        the step was made. Else it is made again: both writes need the revision that was read, so one succeeds at most.
        """
        perhaps_written: set[tuple[bytes | None, int]] = set()

        def try_once() -> ModelState | None:
            row = self._row(model)
            current = row.state()
            if current is not None and (row.document, row.revision) in perhaps_written:
                return current
            new = step(current)
            if new == current:
                return new
            if current is not None and new.active != current.active:
                new = new.serve(now_ms())
            following = row.followed_by(new)
            try:
                return new if self._write(model, row, following) else None
            except grpc.RpcError:
                if following.revision != row.revision:
                    perhaps_written.add((following.document, following.revision))
                raise

        for _ in range(_ATTEMPTS):
            made = self._retried(try_once)
            if made is not None:
                return made
        raise RegistryBusyError(f"{model}: another writer was faster {_ATTEMPTS} times in a row; nothing was changed")

    def _row(self, model: str) -> _Row:
        return self._read(model).get(model.encode(), _NO_ROW)

    def _read(self, *models: str) -> dict[bytes, _Row]:
        """The rows of these models, or of all if none is given, by row key."""
        keys = (model.encode() for model in models)
        request = read_request(self._table, self._app_profile, keys, registry_filter())
        assembler = CellAssembler()
        responses = self._read_rows(request, timeout=_CALL_SECONDS, metadata=self._metadata)
        rows = [row for response in responses for row in assembler.feed(response)]
        assembler.finish()
        return {key: _Row.of(newest_by_column(cells)) for key, cells in rows}

    def _write(self, model: str, row: _Row, following: _Row) -> bool:
        """Write a row if it is still `row`; return True if it was written."""
        request = self._conditional_request(model, row)
        mutations = request.false_mutations if row is _NO_ROW else request.true_mutations
        written = {REGISTRY_WRITE_LEASE: following.write_lease}
        if following.revision != row.revision:
            written |= {REGISTRY_DOCUMENT: following.document, REGISTRY_REVISION: b"%d" % following.revision}
        for column, value in written.items():
            cell = mutations.add().set_cell
            cell.family_name = REGISTRY_FAMILY
            cell.column_qualifier = column
            cell.timestamp_micros = REGISTRY_TIMESTAMP
            cell.value = value
        response = self._check_and_mutate_row(request, timeout=_CALL_SECONDS, metadata=self._metadata)
        return bool(response.predicate_matched) is (row is not _NO_ROW)

    def _conditional_request(self, model: str, row: _Row) -> Any:
        """A request to change a row if it is still `row`, without mutations."""
        return CheckAndMutateRowRequest(
            table_name=self._table,
            app_profile_id=self._app_profile,
            row_key=model.encode(),
            predicate_filter=_is_still(row),
        )

    def _retried(self, call: Callable[[], _Result]) -> _Result:
        """Make calls, again after transient errors."""
        give_up, delay = time.monotonic() + self._retry_seconds, _FIRST_DELAY
        while True:
            try:
                return call()
            except grpc.RpcError as error:
                transient = is_transient(error.code().value[0], error.details() or "")
                if not transient or time.monotonic() + delay > give_up:
                    raise
            time.sleep(delay * random.uniform(0.5, 1))  # noqa: S311  jitter
            delay = min(2 * delay, _LARGEST_DELAY)


def _known(model: str, state: ModelState | None) -> ModelState:
    if state is None:
        raise RegistryError(f"{model}: the registry does not have this model; run its refresh first")
    return state


def _is_still(row: _Row) -> Any:
    """A filter that leaves a cell if a row has the revision and the lease of `row`; if it exists, for `_NO_ROW`."""
    if row is _NO_ROW:
        return registry_filter(REGISTRY_REVISION)
    same_revision = registry_filter(REGISTRY_REVISION, b"%d" % row.revision)
    if row.write_lease is None:  # of an earlier checkout; a write that adds the lease changes the revision
        return same_revision
    both = RowFilter.Interleave(filters=[same_revision, registry_filter(REGISTRY_WRITE_LEASE, row.write_lease)])
    second = RowFilter(cells_per_row_offset_filter=1)
    return RowFilter(chain=RowFilter.Chain(filters=[RowFilter(interleave=both), second]))
