"""Comparisons of predictions: of two versions in BigQuery, and of one version in Bigtable with BigQuery."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, TypeVar

from google.api_core.exceptions import NotFound

from foreserve_cli.stores import Stores, StoresError, record_of
from prediction_store.lifecycle import ModelState, Receipt
from prediction_store.warehouse import Kind, bigquery_name

_KEYS_PER_READ = 200  # Bigtable reads the rows of one request one after the other
_READS_AT_A_TIME = 8
_ROWS_PER_PAGE = 10_000
_EXAMPLES = 5

_Item = TypeVar("_Item")


@dataclass(frozen=True, slots=True)
class Difference:
    """The numbers of entities of two versions: same prediction, another one, only in the first, only in the second."""

    same: int
    changed: int
    only_first: int
    only_second: int


@dataclass(slots=True)
class Verification:
    """The result of a comparison of Bigtable with BigQuery.

    Attributes:
        compared: the number of predictions in BigQuery that were looked up in Bigtable.
        missing: those that Bigtable does not have.
        different: those that Bigtable has otherwise.
        extra: the number of predictions that only Bigtable has; None if it was not counted.
        examples: entity ids of the first faults.
    """

    compared: int = 0
    missing: int = 0
    different: int = 0
    extra: int | None = None
    examples: list[str] = field(default_factory=list)

    @property
    def is_right(self) -> bool:
        """True if no fault was found."""
        return not (self.missing or self.different or self.extra)


def table_of(stores: Stores, state: ModelState, version: int, kind: Kind = "predictions") -> str:
    """The BigQuery table of a version, of a kind.

    Raises:
        StoresError: the registry does not have the version.
    """
    table = record_of(state, version).details.get("predictions_table")
    dataset = table.rpartition(".")[0] if table else stores.dataset
    return bigquery_name(dataset, state.model, kind, version)


def difference(stores: Stores, state: ModelState, first: int, second: int) -> Difference:
    """Compare the tables of two versions in BigQuery.

    Raises:
        StoresError: BigQuery no longer has a table.
    """
    sql = f"""
        SELECT
          COUNTIF(a.entity_id IS NOT NULL AND b.entity_id IS NOT NULL AND a.payload = b.payload) AS same,
          COUNTIF(a.entity_id IS NOT NULL AND b.entity_id IS NOT NULL AND a.payload != b.payload) AS changed,
          COUNTIF(b.entity_id IS NULL) AS only_first,
          COUNTIF(a.entity_id IS NULL) AS only_second
        FROM `{table_of(stores, state, first)}` AS a
        FULL OUTER JOIN `{table_of(stores, state, second)}` AS b
          ON a.entity_id = b.entity_id
    """
    return Difference(**dict(next(iter(_query(stores, sql)))))


def expected_receipt(stores: Stores, state: ModelState, version: int) -> Receipt:
    """The counts of cells that the export of a version had to write, according to BigQuery.

    Raises:
        StoresError: BigQuery no longer has the table of the changes.
    """
    table = table_of(stores, state, version, "changes")
    sql = f"SELECT COUNT(payload), COUNTIF(payload IS NULL) FROM `{table}`"
    return Receipt(*next(iter(_query(stores, sql))))


def verify(
    stores: Stores, state: ModelState, version: int, sample: int | None, progress: Callable[[int, int], None]
) -> Verification:
    """Compare the predictions in Bigtable with those in BigQuery.

    Args:
        stores: the stores.
        state: the model's state.
        version: a readable version.
        sample: the number of predictions to compare, chosen at random; None: all, and what only Bigtable has.
        progress: called with the number of compared predictions, and the number of all to compare.

    Raises:
        StoresError: the version cannot be read, or BigQuery no longer has its table.
    """
    if not state.is_readable(version):
        raise StoresError(f"{state.model}: version {version} cannot be read; readable: {readable(state)}")
    limit = "" if sample is None else f" ORDER BY RAND() LIMIT {sample}"
    rows = _query(stores, f"SELECT entity_id, payload FROM `{table_of(stores, state, version)}`{limit}")
    found = Verification()
    present = 0

    def read(batch: list[tuple[str, str]]) -> tuple[list[tuple[str, str]], dict[str, bytes]]:
        return batch, dict(stores.payloads(state, version, [entity_id for entity_id, _ in batch]))

    with ThreadPoolExecutor(_READS_AT_A_TIME) as pool:
        for wave in _batches(_batches(map(tuple, rows), _KEYS_PER_READ), _READS_AT_A_TIME):
            for batch, stored in pool.map(read, wave):
                _compare(batch, stored, found)
                present += len(stored)
            progress(found.compared, rows.total_rows)
    if sample is None:
        found.extra = stores.count_predictions(state, version) - present
    return found


def readable(state: ModelState) -> str:
    """The versions that can be read, newest first, for people."""
    versions = sorted(filter(state.is_readable, state.versions), reverse=True)
    return ", ".join(map(str, versions)) or "none"


def _compare(batch: list[tuple[str, str]], stored: dict[str, bytes], found: Verification) -> None:
    for entity_id, payload in batch:
        found.compared += 1
        if entity_id not in stored:
            found.missing += 1
        elif stored[entity_id] != payload.encode():
            found.different += 1
        else:
            continue
        if len(found.examples) < _EXAMPLES:
            found.examples.append(entity_id)


def _query(stores: Stores, sql: str) -> Any:
    """The rows of a query.

    Raises:
        StoresError: a table does not exist any more.
    """
    try:
        return stores.bigquery().query_and_wait(sql, page_size=_ROWS_PER_PAGE)
    except NotFound as error:
        raise StoresError(
            f"{error.message}; BigQuery keeps the tables of the active version, and of those that can be rolled back to"
        ) from error


def _batches(items: Iterator[_Item], size: int) -> Iterator[list[_Item]]:
    while batch := list(islice(items, size)):
        yield batch
