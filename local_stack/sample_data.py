"""The shop's transactions in BigQuery: what there was at first, and another week of purchases each time it is asked."""

import io
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet
from google.auth.credentials import AnonymousCredentials
from google.cloud import bigquery

from local_stack.stack import DATASET, PROJECT

_FILE = Path(__file__).parent / "data" / "cdnow_transactions.csv.gz"
_TABLE = f"{PROJECT}.shop.transactions"
_FIRST_LOAD_THROUGH = date(1998, 6, 16)
_COLUMNS = {
    "customer_id": ("STRING", pa.string()),  # with leading zeros
    "order_date": ("DATE", pa.date32()),
    "quantity": ("INT64", pa.int64()),
    "amount_usd": ("FLOAT64", pa.float64()),
}


@dataclass(frozen=True, slots=True)
class Arrival:
    """Purchases that were added to the table: how many, and the day of the last one there is now."""

    rows: int
    through: date

    def __str__(self) -> str:
        if not self.rows:
            return f"no purchases to load: BigQuery has those through {self.through}"
        return f"{self.rows:,} purchases loaded; BigQuery has those through {self.through}"


def warehouse() -> bigquery.Client:
    """A client of the local BigQuery, found by `BIGQUERY_EMULATOR_HOST`."""
    return bigquery.Client(PROJECT, credentials=AnonymousCredentials())


def first_purchases(client: bigquery.Client) -> Arrival:
    """Create the datasets and the table, and fill the table up to two weeks before the end, if it is empty."""
    for dataset in (DATASET, "shop"):
        client.create_dataset(f"{PROJECT}.{dataset}", exists_ok=True)
    schema = [bigquery.SchemaField(name, kind) for name, (kind, _) in _COLUMNS.items()]
    client.create_table(bigquery.Table(_TABLE, schema), exists_ok=True)
    if (known := _last_day(client)) is not None:
        return Arrival(0, known)
    return _load(client, _purchases(after=date.min, through=_FIRST_LOAD_THROUGH))


def next_week(client: bigquery.Client) -> Arrival:
    """Add the purchases of the week after the last one in the table; none when the log has ended."""
    known = _last_day(client) or _FIRST_LOAD_THROUGH
    rows = _purchases(after=known, through=known + timedelta(days=7))
    return _load(client, rows) if rows.num_rows else Arrival(0, known)


def _last_day(client: bigquery.Client) -> date | None:
    """The day of the last purchase in the table; None if there is none yet."""
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
    config = bigquery.LoadJobConfig(
        source_format=bigquery.SourceFormat.PARQUET, write_disposition=bigquery.WriteDisposition.WRITE_APPEND
    )
    client.load_table_from_file(file, _TABLE, rewind=True, job_config=config).result()
    return Arrival(rows.num_rows, pc.max(rows["order_date"]).as_py())
