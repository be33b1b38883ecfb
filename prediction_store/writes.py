"""The mutations that write a version's predictions and that delete the cells of stale versions."""

from typing import Any

from prediction_store.layout import COLUMN, cell_timestamp, stale_range
from prediction_store.protos import MutateRowsRequest, TimestampRange


def prediction_entry(model: str, version: int) -> tuple[Any, Any]:
    """An entry that writes a prediction, to be filled in and copied for each row.

    Returns:
        The entry, whose `row_key` is to be set, and its cell, whose `value` is to be set (empty: a tombstone).
    """
    entry = MutateRowsRequest.Entry()
    cell = entry.mutations.add().set_cell
    cell.family_name = model
    cell.column_qualifier = COLUMN
    cell.timestamp_micros = cell_timestamp(version)
    return entry, cell


def purge_entry(model: str, active: int, version: int) -> Any:
    """An entry that deletes a model's cells above the active version and below the one to be exported.

    Its `row_key` is to be set for each row.
    """
    entry = MutateRowsRequest.Entry()
    deletion = entry.mutations.add().delete_from_column
    deletion.family_name = model
    deletion.column_qualifier = COLUMN
    deletion.time_range.MergeFrom(TimestampRange(**stale_range(active, version)))
    return entry
