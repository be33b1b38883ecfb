"""The shop's transactions in BigQuery: what there was at first, and another week of purchases each time it is asked."""

import io
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet
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


def next_week(client: bigquery.Client) -> Arrival:
    """Add a week of purchases to the table; the first time, everything up to two weeks before the end."""
    for dataset in (DATASET, "shop"):
        client.create_dataset(f"{PROJECT}.{dataset}", exists_ok=True)
    schema = [bigquery.SchemaField(name, kind) for name, (kind, _) in _COLUMNS.items()]
    client.create_table(bigquery.Table(_TABLE, schema), exists_ok=True)
    known = _last_day(client)
    through = _FIRST_LOAD_THROUGH if known is None else known + timedelta(days=7)
    rows = _purchases(after=known, through=through)
    if rows.num_rows == 0:
        return Arrival(0, known or through)
    _load(client, rows)
    return Arrival(rows.num_rows, pc.max(rows["order_date"]).as_py())


def _last_day(client: bigquery.Client) -> date | None:
    """The day of the last purchase in the table; None if there is none yet."""
    day: date | None = next(iter(client.query_and_wait(f"SELECT MAX(order_date) FROM `{_TABLE}`")))[0]
    return day


def _purchases(*, after: date | None, through: date) -> pa.Table:
    types = {name: arrow_type for name, (_, arrow_type) in _COLUMNS.items()}
    table = pyarrow.csv.read_csv(_FILE, convert_options=pyarrow.csv.ConvertOptions(column_types=types))
    wanted = pc.less_equal(table["order_date"], pa.scalar(through))
    if after is not None:
        wanted = pc.and_(wanted, pc.greater(table["order_date"], pa.scalar(after)))
    return table.filter(wanted)


def _load(client: bigquery.Client, rows: pa.Table) -> None:
    file = io.BytesIO()
    pyarrow.parquet.write_table(rows, file)
    config = bigquery.LoadJobConfig(
        source_format=bigquery.SourceFormat.PARQUET, write_disposition=bigquery.WriteDisposition.WRITE_APPEND
    )
    client.load_table_from_file(file, _TABLE, rewind=True, job_config=config).result()
