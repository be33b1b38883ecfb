"""The last steps of the jobs, which record the result in the registry."""

import logging
from collections.abc import Iterable

import apache_beam as beam

from beam_jobs.registered_version import RegisteredVersion
from prediction_store.lifecycle import Receipt

_log = logging.getLogger(__name__)


class AddReceipts(beam.CombineFn):
    """Adds the receipts of all batches. The sum of none is the receipt of an empty export."""

    def create_accumulator(self) -> Receipt:
        """A receipt of no cells."""
        return Receipt(0, 0)

    def add_input(self, accumulator: Receipt, receipt: Receipt) -> Receipt:
        """Add one receipt."""
        return self.merge_accumulators([accumulator, receipt])

    def merge_accumulators(self, accumulators: Iterable[Receipt]) -> Receipt:
        """Add several receipts."""
        receipts = list(accumulators)
        return Receipt(sum(r.predictions for r in receipts), sum(r.tombstones for r in receipts))

    def extract_output(self, accumulator: Receipt) -> Receipt:
        """The sum."""
        return accumulator


class WriteReceipt(beam.DoFn):
    """Records the receipt of the whole export."""

    def __init__(self, version: RegisteredVersion) -> None:
        """Record the receipt of `version`."""
        self._version = version

    def process(self, receipt: Receipt) -> None:
        """Record the receipt. A retry of the step records the same receipt again."""
        self._version.update(lambda state: state.complete_export(self._version.version, receipt))
        _log.info(
            "%s version %d: exported %d predictions and %d tombstones",
            self._version.model,
            self._version.version,
            receipt.predictions,
            receipt.tombstones,
        )


class MarkPurged(beam.DoFn):
    """Records that no stale cells are left."""

    def __init__(self, version: RegisteredVersion, active: int, began: int) -> None:
        """Mark the versions between `active` and `version` as purged.

        Args:
            version: the version to be exported next.
            active: the version that was active when the purge began, or 0 if there was none.
            began: the time at which the purge began, in milliseconds since the epoch.
        """
        self._version = version
        self._active = active
        self._began = began

    def process(self, rows: int) -> None:
        """Mark the versions as purged. `rows` is the number of rows that had stale cells; it may be 0."""
        version, above, began = self._version.version, self._active, self._began
        self._version.update(lambda state: state.mark_purged(version, above=above, began=began))
        _log.info("%s: deleted stale cells of %d rows", self._version.model, rows)
