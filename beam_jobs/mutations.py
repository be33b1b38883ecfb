"""Entries of MutateRows requests, made from Arrow columns in protobuf's wire format.

The bytes of all rows are joined column by column. That takes 0.1 us per row; a protobuf object per row takes 1.1 us.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from prediction_store.layout import MAX_ENTITY_ID_BYTES, RowKeyFormat, row_key
from prediction_store.messages import prediction_entry, purge_entry

# Tags of google.bigtable.v2: field number and wire type 2 (length-delimited).
_ENTRIES = b"\x12"  # MutateRowsRequest.entries = 2
_ROW_KEY = b"\x0a"  # Entry.row_key = 1
_MUTATIONS = b"\x12"  # Entry.mutations = 2
_SET_CELL = b"\x0a"  # Mutation.set_cell = 1
_VALUE = b"\x22"  # SetCell.value = 4


@dataclass(frozen=True, slots=True)
class Entries:
    """Serialized entries of a request, one after the other. Entry i is `encoded[offsets[i]:offsets[i + 1]]`."""

    encoded: memoryview
    offsets: np.ndarray[Any, np.dtype[np.int32]]

    def __len__(self) -> int:
        return len(self.offsets) - 1


def encode_row_keys(entity_ids: pa.Array, row_keys: RowKeyFormat) -> pa.Array:
    """The row keys of a column of entity ids, the same as `prediction_store.layout.row_key` makes one by one.

    Raises:
        ValueError: an id is null, empty or too long.
    """
    entity_ids = entity_ids.fill_null("")
    sizes = pc.binary_length(entity_ids)
    fits = pc.and_(pc.greater(sizes, 0), pc.less_equal(sizes, MAX_ENTITY_ID_BYTES))
    if row_keys == "hashed" or not pc.all(fits).as_py():
        return pa.array([row_key(entity_id, row_keys) for entity_id in entity_ids.to_pylist()], pa.binary())
    return entity_ids.cast(pa.binary())


def prediction_entries(keys: pa.Array, payloads: pa.Array, model: str, version: int) -> Entries:
    """Entries that write the cells of a version.

    Args:
        keys: the row keys.
        payloads: the predictions as JSON, one for each key. Null becomes a tombstone.
        model: the model whose predictions they are.
        version: the version of the predictions.

    Raises:
        ValueError: a payload is empty, which would look like a tombstone.
    """
    if pc.any(pc.equal(pc.binary_length(payloads), 0)).as_py():
        raise ValueError(f"{model}: a payload is empty; it must be JSON, or NULL where there is no prediction")
    _, template = prediction_entry(model, version)
    cell: bytes = template.SerializeToString()
    values = payloads.fill_null("").cast(pa.binary())

    def before_value(size: int) -> bytes:
        """The bytes before a value of `size` bytes: mutation, cell, and the value's length."""
        head = cell + _VALUE + _varint(size)
        set_cell = _SET_CELL + _varint(len(head) + size) + head
        return _MUTATIONS + _varint(len(set_cell) + size) + set_cell

    return _entries(keys, _by_size(values, before_value), values)


def purge_entries(keys: pa.Array, model: str, active: int, version: int) -> Entries:
    """Entries that delete a model's cells above version `active` and below `version`, one for each row key."""
    mutations = purge_entry(model, active, version).SerializeToString()
    return _entries(keys, pa.repeat(pa.scalar(mutations, pa.binary()), len(keys)))


def _entries(keys: pa.Array, *mutations: pa.Array) -> Entries:
    """Join row keys and the pieces of their mutations to entries."""
    pieces = [_by_size(keys, lambda size: _ROW_KEY + _varint(size)), keys, *mutations]
    sizes = pc.binary_length(pieces[0])
    for piece in pieces[1:]:
        sizes = pc.add(sizes, pc.binary_length(piece))
    joined = pc.binary_join_element_wise(_for_each(sizes, lambda size: _ENTRIES + _varint(size)), *pieces, b"")
    _, offsets, encoded = joined.buffers()
    return Entries(memoryview(encoded), np.frombuffer(offsets, np.int32, len(joined) + 1))


def _by_size(values: pa.Array, prefix: Callable[[int], bytes]) -> pa.Array:
    """A prefix for each value, made from its size in bytes."""
    return _for_each(pc.binary_length(values), prefix)


def _for_each(numbers: pa.Array, encode: Callable[[int], bytes]) -> pa.Array:
    """Encode each number. Equal numbers are encoded once."""
    distinct = numbers.dictionary_encode()
    return pa.array([encode(number) for number in distinct.dictionary.to_pylist()], pa.binary()).take(distinct.indices)


def _varint(number: int) -> bytes:
    """A number as a varint: seven bits per byte, lowest first; the high bit marks all bytes but the last."""
    encoded = bytearray()
    while number >> 7:
        encoded.append(number & 0x7F | 0x80)
        number >>= 7
    encoded.append(number)
    return bytes(encoded)
