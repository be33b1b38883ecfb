"""Telling the registry that a job is done."""

import logging
from collections.abc import Iterable

import apache_beam as beam

from prediction_store.instance import Instance
from prediction_store.lifecycle import Receipt
from prediction_store.registry import Registry

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


class _RegistryStep(beam.DoFn):
    def __init__(self, instance: Instance, app_profile: str, model: str, version: int) -> None:
        """Tell the registry about `version` of `model`."""
        self._instance = instance
        self._app_profile = app_profile
        self._model = model
        self._version = version

    def _registry(self) -> Registry:
        return Registry(self._instance, self._app_profile)


class WriteReceipt(_RegistryStep):
    """Keeps the receipt of the whole export in the registry."""

    def process(self, receipt: Receipt) -> None:
        """Write the receipt; again with the same outcome if the step is retried."""
        with self._registry() as registry:
            registry.update(self._model, lambda state: state.complete_export(self._version, receipt))
        _log.info(
            "%s version %d: exported %d predictions and %d tombstones",
            *(self._model, self._version, receipt.predictions, receipt.tombstones),
        )


class MarkPurged(_RegistryStep):
    """Says in the registry that no stale cells are left."""

    def process(self, rows: int) -> None:
        """Mark the stale versions as purged, whatever the number of `rows` that had cells of them."""
        with self._registry() as registry:
            registry.update(self._model, lambda state: state.purged(self._version))
        _log.info("%s: deleted stale cells of %d rows", self._model, rows)
