"""Prints the tables of docs/cost.md as Markdown, or puts them into a file.

Usage: python -m benchmarks.cost [--write FILE]
"""

from collections.abc import Iterable, Sequence
from dataclasses import fields, replace

from benchmarks.cost.bill import Deployment, bill, export_plan
from benchmarks.cost.prices import Prices
from benchmarks.document import print_or_write
from benchmarks.scale.givens import Givens

PRICES = Prices()
GIVENS = Givens()

SMALL = Deployment(
    entities=1e5,
    changed=0.05,
    refreshes=30,
    trainings=30,
    training_gib=1,
    evaluation_gib=1,
    prediction_gib=1,
    nodes=1,
    clusters=1,
    dcus=8,
    instances=1,
    vcpus=2,
    memory_gib=1.5,
    lookups_a_second=10,
    peak_lookups_a_second=100,
    series=250,
    scrape_seconds=30,
)
LARGE = Deployment(
    entities=2e7,
    changed=0.05,
    refreshes=730,
    trainings=30,
    training_gib=50,
    evaluation_gib=20,
    prediction_gib=20,
    nodes=2,
    clusters=2,
    dcus=16,
    instances=2,
    vcpus=2,
    memory_gib=1.5,
    lookups_a_second=2_000,
    peak_lookups_a_second=6_000,
    series=250,
    scrape_seconds=30,
)

_MEANINGS = {
    "entities": "entities",
    "changed": "share of them whose prediction a refresh changes",
    "refreshes": "refreshes a month",
    "trainings": "of them, with a training",
    "training_gib": "GiB that `train.sql` scans",
    "evaluation_gib": "GiB that `evaluate.sql` scans",
    "prediction_gib": "GiB that `predict.sql` scans",
    "nodes": "Bigtable nodes of a cluster",
    "clusters": "clusters",
    "dcus": "DCUs of Composer",
    "instances": "instances of the service",
    "vcpus": "vCPUs of each: one answers, one reads the metrics",
    "memory_gib": "GiB of memory of each",
    "lookups_a_second": "lookups/s, on average",
    "peak_lookups_a_second": "lookups/s, at most",
    "series": "series of metrics of each instance",
    "scrape_seconds": "seconds between two readings of them",
    "logs_requests": "Cloud Run's request log is kept",
}


def prices() -> str:
    """Every price."""
    rows = [
        (field.name, f"{getattr(PRICES, field.name):,.10g}", field.metadata["meaning"], field.metadata["source"])
        for field in fields(PRICES)
    ]
    return _table(("name", "value", "meaning", "source"), rows)


def deployments() -> str:
    """The two examples."""
    rows = [
        (_MEANINGS[field.name], _figure(getattr(SMALL, field.name)), _figure(getattr(LARGE, field.name)))
        for field in fields(Deployment)
    ]
    return _table(("", "small", "large"), rows)


def bills() -> str:
    """What the two examples cost."""
    small, large = (bill(PRICES, GIVENS, it) for it in (SMALL, LARGE))
    rows = [(name, _dollars(small[name]), _dollars(large[name])) for name in small]
    return _table(("dollars a month", "small", "large"), [*rows, ("all", _dollars(_sum(SMALL)), _dollars(_sum(LARGE)))])


def levers() -> str:
    """What the large example would cost if one thing were otherwise."""
    changes = {
        "a training in every refresh": replace(LARGE, trainings=LARGE.refreshes),
        "a refresh a day": replace(LARGE, refreshes=30),
        "Cloud Run's request log kept": replace(LARGE, logs_requests=True),
        "one cluster": replace(LARGE, clusters=1),
        "nothing beside the service that reads its metrics": replace(LARGE, vcpus=1, memory_gib=1, series=0),
        "every prediction changes": replace(LARGE, changed=1),
    }
    rows = [
        (what, f"{'+' if more > 0 else '-'}{_dollars(abs(more))}", f"{export_plan(GIVENS, other).seconds / 60:.1f} min")
        for what, other in changes.items()
        for more in [_sum(other) - _sum(LARGE)]
    ]
    base = ("as it is", _dollars(_sum(LARGE)), f"{export_plan(GIVENS, LARGE).seconds / 60:.1f} min")
    return _table(("large, but", "a month", "an export takes"), [base, *rows])


TABLES = {"prices": prices, "deployments": deployments, "bills": bills, "levers": levers}


def _sum(it: Deployment) -> float:
    return sum(bill(PRICES, GIVENS, it).values())


def _figure(value: float) -> str:
    return str(value).lower() if isinstance(value, bool) else f"{value:,.10g}"


def _dollars(amount: float) -> str:
    return f"${amount:,.0f}" if amount >= 10 else f"${amount:.2f}"  # noqa: PLR2004  cents matter below


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    return "\n".join("| " + " | ".join(row) + " |" for row in (head, ["---"] * len(head), *rows))


if __name__ == "__main__":
    print_or_write("cost", __doc__, TABLES)
