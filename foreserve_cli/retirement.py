"""The retirement of a model: everything that refreshes made of it is deleted, and the registry forgets it.

The order makes it safe to stop half-way and to start again. Readers lose the model first, by one step in the registry.
Then the BigQuery models and tables go, the column family, and the registry's row last: it says what is ours.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace

from google.api_core.exceptions import NotFound

from foreserve_cli.stores import Stores
from prediction_store.decisions import LostRaceError
from prediction_store.lifecycle import ModelState, RegistryError, now_ms
from prediction_store.tables import Tables
from prediction_store.warehouse import live_metrics_table, version_of


@dataclass(frozen=True, slots=True)
class Belongings:
    """The BigQuery models and tables of a model, as PROJECT.DATASET.NAME.

    Attributes:
        models: the BigQuery models of versions that the registry has.
        tables: the tables of such versions, and that of the live metrics.
        strangers: models and tables with names like these, of versions that the registry does not have. They stay.
    """

    models: list[str]
    tables: list[str]
    strangers: list[str]


def belongings(stores: Stores, state: ModelState) -> Belongings:
    """The BigQuery models and tables of a model, in each dataset that its versions have used."""
    client = stores.bigquery()
    found = Belongings([], [], [])
    ours = {*state.versions, *(version for _, version in state.served if version is not None)}
    used = (record.details.get("predictions_table") for record in state.versions.values())
    for dataset in sorted({stores.dataset, *(table.rpartition(".")[0] for table in used if table)}):
        listed = ((found.models, client.list_models, "model_id"), (found.tables, client.list_tables, "table_id"))
        for names, list_all, attribute in listed:
            try:
                ids = [getattr(each, attribute) for each in list_all(dataset)]
            except NotFound:
                continue
            for name in ids:
                version = version_of(name, state.model)
                if version in ours or name == live_metrics_table(state.model):
                    names.append(f"{dataset}.{name}")
                elif version is not None:
                    found.strangers.append(f"{dataset}.{name}")
    return found


def require_no_run(state: ModelState) -> None:
    """Check that no run makes a version.

    Raises:
        RegistryError: a run has the run lease.
    """
    if run := state.run_lease_holder(now_ms()):
        raise RegistryError(
            f"{state.model}: version {state.latest} is being made by {run}; wait until it has ended, or abort it: "
            f"foreserve abort {state.model}"
        )


def retire(stores: Stores, shown: ModelState, owned: Belongings, *, drop_family: bool) -> Iterator[str]:
    """Delete what belongs to a model; yield each deletion, after it was made.

    Args:
        stores: the stores.
        shown: the state that the person was shown.
        owned: the BigQuery models and tables that the person was shown.
        drop_family: delete the column family too. Without it, Terraform has to.

    Raises:
        LostRaceError: a version was opened, promoted or rolled back meanwhile.
        RegistryError: a run has the run lease.
    """
    registry = stores.registry()

    def withdraw(state: ModelState) -> ModelState:
        require_no_run(state)
        if (state.active, state.latest) != (shown.active, shown.latest):
            raise LostRaceError(f"{state.model}: lost a race: its versions have changed meanwhile; nothing was deleted")
        return replace(state, active=None)

    withdrawn = registry.update(shown.model, withdraw)
    yield f"readers: no version of {shown.model} is active; before, it was {shown.active or 'none'}"
    client = stores.bigquery()
    for name in owned.models:
        client.delete_model(name, not_found_ok=True)
        yield f"BigQuery model {name}"
    for name in owned.tables:
        client.delete_table(name, not_found_ok=True)
        yield f"BigQuery table {name}"
    if drop_family and Tables(stores.instance).drop_family(withdrawn):
        yield f"column family {shown.model} of the Bigtable table {shown.entity_type}, with all its cells"
    if not registry.remove(withdrawn):
        raise LostRaceError(f"{shown.model}: lost a race: a refresh has begun; the model stays in the registry")
    yield f"registry: row {shown.model}"
