"""The data that the local stack starts with, a week of purchases more for each refresh, and CSV files of a person.

`python -m local_stack.sample_data` prepares the stores for the first refresh.
"""

import io
import re
import sys
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet
from google.auth.credentials import AnonymousCredentials
from google.cloud import bigquery

from local_stack.settings import DATASET, INSTANCE, PROJECT
from prediction_store.layout import Instance
from prediction_store.tables import Tables

_DATA = Path(__file__).parent / "data"
_FILE = _DATA / "cdnow_transactions.csv.gz"
_TABLE = f"{PROJECT}.shop.transactions"
_GROCERIES = f"{PROJECT}.grocery.purchases"
_FIRST_LOAD_THROUGH = date(1998, 6, 16)
_COLUMNS = {
    "customer_id": ("STRING", pa.string()),  # with leading zeros
    "order_date": ("DATE", pa.date32()),
    "quantity": ("INT64", pa.int64()),
    "amount_usd": ("FLOAT64", pa.float64()),
}


@dataclass(frozen=True, slots=True)
class Arrival:
    """A load of purchases: the number of new rows, and the day of the last purchase in the table."""

    rows: int
    through: date

    def __str__(self) -> str:
        if not self.rows:
            return f"no purchases to load; BigQuery has all through {self.through}"
        return f"{self.rows:,} purchases loaded; BigQuery has all through {self.through}"


def prepare() -> Arrival:
    """Create the version registry in Bigtable; create the tables of both shops and load the first purchases.

    Both stores are found by their `*_EMULATOR_HOST` variables. What exists is left as it is.
    """
    Tables(Instance(PROJECT, INSTANCE)).ensure_registry()
    client = warehouse()
    load_groceries(client)
    return first_purchases(client)


def warehouse() -> bigquery.Client:
    """Return a client of the local BigQuery, which `BIGQUERY_EMULATOR_HOST` names."""
    return bigquery.Client(PROJECT, credentials=AnonymousCredentials())


def first_purchases(client: bigquery.Client) -> Arrival:
    """Create the datasets and the table. Load all purchases but those of the last two weeks into an empty table."""
    for dataset in (DATASET, "shop"):
        client.create_dataset(f"{PROJECT}.{dataset}", exists_ok=True)
    schema = [bigquery.SchemaField(name, kind) for name, (kind, _) in _COLUMNS.items()]
    client.create_table(bigquery.Table(_TABLE, schema), exists_ok=True)
    if (known := _last_day(client)) is not None:
        return Arrival(0, known)
    return _load(client, _purchases(after=date.min, through=_FIRST_LOAD_THROUGH))


def load_groceries(client: bigquery.Client) -> None:
    """Create the dataset and the table of the grocery. Load all its purchases into an empty table."""
    client.create_dataset(f"{PROJECT}.grocery", exists_ok=True)
    kinds = {"household_id": "STRING", "product": "STRING", "month": "DATE", "baskets": "INT64"}
    schema = [bigquery.SchemaField(name, kind) for name, kind in kinds.items()]
    client.create_table(bigquery.Table(_GROCERIES, schema), exists_ok=True)
    if next(iter(client.query_and_wait(f"SELECT COUNT(*) FROM `{_GROCERIES}`")))[0] == 0:
        with (_DATA / "grocery_purchases.parquet").open("rb") as file:
            client.load_table_from_file(file, _GROCERIES, job_config=_parquet()).result()


def next_week(client: bigquery.Client) -> Arrival:
    """Add the purchases of the next week. Add none if the table has all purchases of the file."""
    known = _last_day(client) or _FIRST_LOAD_THROUGH
    rows = _purchases(after=known, through=known + timedelta(days=7))
    return _load(client, rows) if rows.num_rows else Arrival(0, known)


def load_csv(client: bigquery.Client, file: Path, table: str) -> bigquery.Table:
    """Load a CSV file with a line of names into a table, DATASET.TABLE, which the rows replace; return the table.

    Raises:
        OSError: the file cannot be read.
        ValueError: the name is not that of a table.
        google.api_core.exceptions.GoogleAPICallError: BigQuery cannot load it.
    """
    if not re.fullmatch(r"\w+\.\w+", table):
        raise ValueError(f"TABLE={table!r}: give it as DATASET.TABLE, such as my_lab.people")
    reference = bigquery.TableReference.from_string(table, PROJECT)
    client.create_dataset(reference.dataset_id, exists_ok=True)
    config = bigquery.LoadJobConfig(
        autodetect=True,
        skip_leading_rows=1,
        source_format=bigquery.SourceFormat.CSV,
        write_disposition=bigquery.WriteDisposition.WRITE_TRUNCATE,
    )
    with file.open("rb") as rows:
        client.load_table_from_file(rows, reference, job_config=config).result()
    return client.get_table(reference)


def _last_day(client: bigquery.Client) -> date | None:
    """Return the day of the last purchase in the table, or None if the table is empty."""
    day: date | None = next(iter(client.query_and_wait(f"SELECT MAX(order_date) FROM `{_TABLE}`")))[0]
    return day


def _purchases(*, after: date, through: date) -> pa.Table:
    types = {name: arrow_type for name, (_, arrow_type) in _COLUMNS.items()}
    table = pyarrow.csv.read_csv(_FILE, convert_options=pyarrow.csv.ConvertOptions(column_types=types))
    days = table["order_date"]
    return table.filter(pc.and_(pc.greater(days, pa.scalar(after)), pc.less_equal(days, pa.scalar(through))))


def _load(client: bigquery.Client, rows: pa.Table) -> Arrival:
    file = io.BytesIO()
    pyarrow.parquet.write_table(rows, file)
    client.load_table_from_file(file, _TABLE, rewind=True, job_config=_parquet()).result()
    return Arrival(rows.num_rows, pc.max(rows["order_date"]).as_py())


def _parquet() -> bigquery.LoadJobConfig:
    return bigquery.LoadJobConfig(
        source_format=bigquery.SourceFormat.PARQUET, write_disposition=bigquery.WriteDisposition.WRITE_APPEND
    )


if __name__ == "__main__":
    sys.stdout.write(f"{prepare()}\n")
