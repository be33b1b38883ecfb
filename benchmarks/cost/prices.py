"""List prices in dollars, beside those of benchmarks.scale.givens: each with its unit and where it comes from.

After a change, run `python -m benchmarks.cost --write docs/cost.md`.
"""

from dataclasses import dataclass, field
from typing import Any

_CLOUD_RUN = "https://cloud.google.com/run/pricing, instance-based billing, a first-tier region; as others quote it"
_OBSERVABILITY = "https://cloud.google.com/products/observability/pricing, as others quote it"
_BIGQUERY = "https://cloud.google.com/bigquery/pricing, as others quote it (US)"
_ASSUMED = "assumption"


def _price(value: float, meaning: str, source: str) -> Any:
    return field(default=value, metadata={"meaning": meaning, "source": source})


@dataclass(frozen=True, slots=True)
class Prices:
    """What is paid for, beside Bigtable, Dataflow, and what BigQuery reads and scans."""

    dcu_hour: float = _price(0.06, "a DCU and hour of Composer 3", "https://cloud.google.com/composer/pricing")
    airflow_gib_month: float = _price(
        0.17, "a GiB and month of Composer's database", "https://cloud.google.com/composer/pricing"
    )
    vcpu_second: float = _price(0.000018, "a vCPU and second of Cloud Run", _CLOUD_RUN)
    free_vcpu_seconds: float = _price(240_000, "vCPU-seconds a month free of charge", _CLOUD_RUN)
    gib_second: float = _price(0.000002, "a GiB of memory and second of Cloud Run", _CLOUD_RUN)
    free_gib_seconds: float = _price(450_000, "GiB-seconds a month free of charge", _CLOUD_RUN)
    training_tib: float = _price(312.5, "a TiB read by CREATE MODEL of a built-in type, on demand", _BIGQUERY)
    free_query_tib: float = _price(1, "TiB a month scanned free of charge", _BIGQUERY)
    table_gib_month: float = _price(0.02, "a GiB and month of BigQuery tables", _BIGQUERY)
    log_gib: float = _price(0.5, "a GiB of logs", _OBSERVABILITY)
    free_log_gib: float = _price(50, "GiB of logs a month free of charge", _OBSERVABILITY)
    request_log_bytes: float = _price(1_000, "bytes of an entry in Cloud Run's request log", _ASSUMED)
    million_samples: float = _price(0.06, "a million samples of metrics", _OBSERVABILITY)
