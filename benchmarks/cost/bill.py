"""From a deployment to what it costs a month."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from benchmarks.cost.prices import Prices
from benchmarks.scale.givens import Givens
from benchmarks.scale.model import GIB, TIB, Load, Plan, cells_at_most, monthly_cost, plan, stored_gib

HOURS = 730
SECONDS = HOURS * 3600
DATABASE_GIB = 10
OWN_SCANS = 4
"""The scans of whole tables of predictions by a refresh: `measure` one, `changes` two, the smoke test's sample one."""


@dataclass(frozen=True, slots=True)
class Deployment:
    """One model in production; numbers of a month, or at any time.

    `training_gib`, `evaluation_gib` and `prediction_gib` are what train.sql, evaluate.sql and predict.sql scan.
    """

    entities: float
    changed: float
    refreshes: int
    trainings: int
    training_gib: float
    evaluation_gib: float
    prediction_gib: float
    nodes: int
    clusters: int
    dcus: float
    instances: float
    vcpus: float
    memory_gib: float
    lookups_a_second: float
    peak_lookups_a_second: float
    series: float
    scrape_seconds: float
    logs_requests: bool = False


def export_plan(givens: Givens, deployment: Deployment) -> Plan:
    """The export of one refresh, on the nodes that the deployment keeps."""
    return plan(_chosen(givens, deployment), Load(deployment.entities, deployment.changed))


def bill(prices: Prices, givens: Givens, deployment: Deployment) -> Mapping[str, float]:
    """Dollars a month, by what they are paid for."""
    it, chosen = deployment, _chosen(givens, deployment)
    planned = export_plan(givens, it)
    storage = stored_gib(givens, it.entities, cells_at_most(givens)) * givens.bigtable.gib_month
    predictions_gib = it.entities * givens.measured.logical_bytes / GIB
    refresh_gib, training_gib = it.prediction_gib + OWN_SCANS * predictions_gib, 2 * it.evaluation_gib
    scanned_tib = (it.refreshes * refresh_gib + it.trainings * training_gib) / 1024
    diffs = it.refreshes * 2 * predictions_gib * GIB / TIB * givens.bigquery.query_tib  # `changes`: counted above
    log_gib = it.lookups_a_second * SECONDS * prices.request_log_bytes / GIB if it.logs_requests else 0
    return {
        "Bigtable: nodes": it.nodes * it.clusters * HOURS * givens.bigtable.node_hour,
        "Bigtable: storage": storage * it.clusters,
        "Composer": it.dcus * HOURS * prices.dcu_hour + DATABASE_GIB * prices.airflow_gib_month,
        "service": _service(prices, it),
        "BigQuery: training": it.trainings * it.training_gib / 1024 * prices.training_tib,
        "BigQuery: queries": max(0, scanned_tib - prices.free_query_tib) * givens.bigquery.query_tib,
        "BigQuery: tables": (givens.chosen.keep_versions + 2) * predictions_gib * prices.table_gib_month,
        "export": monthly_cost(chosen, planned) - diffs,
        "metrics": it.instances * it.series * SECONDS / it.scrape_seconds / 1e6 * prices.million_samples,
        "request log": max(0, log_gib - prices.free_log_gib) * prices.log_gib,
    }


def _service(prices: Prices, it: Deployment) -> float:
    vcpu_seconds = max(0, it.instances * it.vcpus * SECONDS - prices.free_vcpu_seconds)
    gib_seconds = max(0, it.instances * it.memory_gib * SECONDS - prices.free_gib_seconds)
    return vcpu_seconds * prices.vcpu_second + gib_seconds * prices.gib_second


def _chosen(givens: Givens, it: Deployment) -> Givens:
    chosen = replace(
        givens.chosen, live_reads=it.peak_lookups_a_second, least_nodes=it.nodes, refreshes_a_month=it.refreshes
    )
    return replace(givens, chosen=chosen)
