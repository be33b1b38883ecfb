"""Telling the registry that a job is done."""

import logging
from collections.abc import Iterable

import apache_beam as beam

from beam_jobs.registered_version import RegisteredVersion
from prediction_store.lifecycle import Receipt

_log = logging.getLogger(__name__)


class AddReceipts(beam.CombineFn):
    """The sum of receipts: what all bundles together wrote. The sum of none is the receipt of an empty export."""

    def create_accumulator(self) -> Receipt:
        """The receipt of nothing."""
        return Receipt(0, 0)

    def add_input(self, accumulator: Receipt, receipt: Receipt) -> Receipt:
        """Add one receipt."""
        return self.merge_accumulators([accumulator, receipt])

    def merge_accumulators(self, accumulators: Iterable[Receipt]) -> Receipt:
        """Add several receipts."""
        receipts = list(accumulators)
        return Receipt(sum(r.predictions for r in receipts), sum(r.tombstones for r in receipts))

    def extract_output(self, accumulator: Receipt) -> Receipt:
        """The sum itself."""
        return accumulator


class WriteReceipt(beam.DoFn):
    """Keeps the receipt of the whole export in the registry."""

    def __init__(self, exported: RegisteredVersion) -> None:
        """Keep the receipt of `exported`."""
        self._exported = exported

    def process(self, receipt: Receipt) -> None:
        """Write the receipt; again with the same outcome if the step is retried."""
        self._exported.update(lambda state: state.complete_export(self._exported.version, receipt))
        _log.info(
            "%s version %d: exported %d predictions and %d tombstones",
            *(self._exported.model, self._exported.version, receipt.predictions, receipt.tombstones),
        )


class MarkPurged(beam.DoFn):
    """Says in the registry that no stale cells are left."""

    def __init__(self, following: RegisteredVersion, active: int, began: int) -> None:
        """Say so of the versions above `active` and below `following`, if they were quiet when the purge `began`."""
        self._following = following
        self._active = active
        self._began = began

    def process(self, rows: int) -> None:
        """Mark the stale versions as purged, whatever the number of `rows` that had cells of them."""
        version, above, began = self._following.version, self._active, self._began
        self._following.update(lambda state: state.mark_purged(version, above=above, began=began))
        _log.info("%s: deleted stale cells of %d rows", self._following.model, rows)
