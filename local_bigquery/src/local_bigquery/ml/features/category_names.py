"""What BigQuery ML calls the encoded columns of a feature that is no number."""

import base64
from collections.abc import Iterator

import pyarrow as pa

from local_bigquery.ml.features.encoding import NULL_CATEGORY, Encoding, MultiHotEncoding, OneHotEncoding


def category_names(encoding: Encoding) -> Iterator[tuple[int, str]]:
    """Yield position and name of every encoded column: a category, or the position in an array of numbers."""
    if not isinstance(encoding, OneHotEncoding | MultiHotEncoding):
        yield from ((position, str(position)) for position in range(encoding.width))
        return
    yield from enumerate([*_names(encoding.categories), NULL_CATEGORY])


def _names(categories: pa.Array) -> list[str]:
    if pa.types.is_binary(categories.type):  # as BigQuery writes BYTES where there is only text
        return [base64.b64encode(value).decode() for value in categories.to_pylist()]
    names: list[str] = categories.cast(pa.string()).to_pylist()
    return names
