"""The commands: `foreserve --help`, or `python -m foreserve_cli`.

Exit codes: 0 done or right; 1 refused, failed, or a difference was found; 2 wrong usage; 3 lost a race.
"""

import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import grpc
import typer
from google.api_core.exceptions import GoogleAPICallError
from google.auth.exceptions import GoogleAuthError
from rich import box
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from foreserve_cli import actions, comparison, explanation, retirement
from foreserve_cli.actions import Action
from foreserve_cli.stores import Stores, StoresError, record_of
from prediction_store.decisions import LostRaceError
from prediction_store.lifecycle import ModelState, RegistryError, now_ms

_LOST_RACE = 3
_WIDTH = 400  # of tables in files and pipes, in characters

app = typer.Typer(
    help="Versions of predictions: see them, compare them, and change which one readers get.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
# Reasons, entity ids and predictions may have square brackets, which are no markup.
_console = partial(Console, soft_wrap=True, highlight=False, markup=False, emoji=False)
output = _console(width=None if sys.stdout.isatty() else _WIDTH)
notes = _console(stderr=True)

Model = Annotated[str, typer.Argument(help="The model's name in the registry.", show_default=False)]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Reason = Annotated[str | None, typer.Option(help="The reason, which is recorded. It is asked for if it is left out.")]
Yes = Annotated[bool, typer.Option("--yes", help="Do it without asking. Needs --reason.")]


def main() -> None:
    """Run a command. Expected errors are one line on standard error."""
    try:
        app()
    except LostRaceError as error:
        _fail(str(error), _LOST_RACE)
    except (StoresError, RegistryError) as error:
        _fail(str(error))
    except grpc.RpcError as error:
        _fail(f"Bigtable does not answer: {error.code().name} {error.details()}")
    except GoogleAPICallError as error:
        _fail(f"Google Cloud refuses: {error}")
    except (GoogleAuthError, OSError) as error:
        _fail(str(error))


@app.command("list")
def list_models(*, as_json: AsJson = False) -> None:
    """List the models: active version, age, and the state of the latest version."""
    states = sorted(_stores().registry().models(), key=lambda state: state.model)
    if as_json:
        _print_json([_model_json(state) for state in states])
        return
    table = _table("Model", "Entity type", "Active version", "Age", "Versions", "Latest version")
    for state in states:
        latest = state.versions.get(state.latest)
        said = "" if latest is None or state.latest == state.active else f"{state.latest}: {latest.status}"
        table.add_row(
            state.model,
            state.entity_type,
            str(state.active or "none"),
            _age(state.active),
            str(len(state.versions)),
            said,
        )
    output.print(table if states else "The registry has no models; run a refresh.")


@app.command()
def show(
    model: Model,
    version: Annotated[int | None, typer.Argument(help="One version, with all its details.")] = None,
    *,
    as_json: AsJson = False,
) -> None:
    """Show the versions of a model, or the details of one version."""
    state = _stores().registry().get(model)
    if version is not None:
        document = _version_json(state, version)
        _print_json(document)
        return
    if as_json:
        _print_json(_model_json(state))
        return
    table = _table("Version", "Age", "Status", "Predictions", "Written", "Tombstones", "p99 ms", "Ended")
    for number, record in sorted(state.versions.items(), reverse=True):
        details = record.details
        counts, smoke = details.get("counts"), details.get("smoke_test")
        table.add_row(
            str(number),
            _age(number),
            Text("active", style="bold") if number == state.active else str(record.status),
            f"{counts['predictions']:,}" if counts else "",
            f"{counts['written']:,}" if counts else "",
            f"{counts['tombstones']:,}" if counts else "",
            f"{smoke['p99_ms']:g}" if smoke else "",
            explanation.ending(record),
        )
    output.print(table)
    for line in explanation.live_quality(state):
        output.print(line)
    output.print(f"Can be rolled back to: {', '.join(map(str, state.rollback_targets())) or 'none'}")
    if forward := state.forward_targets():
        output.print(f"Can be promoted as they are: {', '.join(map(str, forward))}")


@app.command()
def diff(
    model: Model,
    first: Annotated[int, typer.Argument(help="A version.", show_default=False)],
    second: Annotated[int, typer.Argument(help="Another version.", show_default=False)],
    *,
    entity: Annotated[str | None, typer.Option(help="Show both predictions of this entity id.")] = None,
    as_json: AsJson = False,
) -> None:
    """Compare two versions: counts of BigQuery's tables, and one entity's predictions in Bigtable side by side."""
    stores = _stores()
    state = stores.registry().get(model)
    counts = asdict(comparison.difference(stores, state, first, second))
    payloads = {v: _payload(stores, state, v, entity) for v in (first, second)} if entity is not None else {}
    if as_json:
        predictions = {} if entity is None else {"predictions": payloads}
        _print_json({"model": model, "first": first, "second": second, **counts, **predictions})
        return
    output.print(
        f"{counts['same']:,} the same, {counts['changed']:,} changed, {counts['only_first']:,} only in {first}, "
        f"{counts['only_second']:,} only in {second}"
    )
    if entity is not None:
        table = Table(str(first), str(second), title=f"{model} of {entity}")
        table.add_row(*(json.dumps(payload, indent=2, ensure_ascii=False) for payload in payloads.values()))
        output.print(table)


@app.command()
def verify(
    model: Model,
    version: Annotated[int | None, typer.Argument(help="The version; the active one if it is left out.")] = None,
    *,
    sample: Annotated[int, typer.Option(min=1, help="The number of predictions, chosen at random.")] = 10_000,
    everything: Annotated[bool, typer.Option("--all", help="All predictions, and what only Bigtable has.")] = False,
    as_json: AsJson = False,
) -> None:
    """Compare the predictions in Bigtable with those in BigQuery. Exit with 1 if they differ."""
    stores = _stores()
    state = stores.registry().get(model)
    number = version or state.active
    if number is None:
        raise StoresError(f"{model} has no active version; give a version")
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=notes, transient=True) as progress:
        task = progress.add_task(f"verifying {number}", total=None)
        found = comparison.verify(
            stores,
            state,
            number,
            None if everything else sample,
            lambda done, total: progress.update(task, completed=done, total=total),
        )
    if as_json:
        _print_json({"model": model, "version": number, "right": found.is_right, **asdict(found)})
    else:
        extra = "" if found.extra is None else f", {found.extra:,} only in Bigtable"
        output.print(
            f"{model} {number}: {found.compared:,} predictions compared: {found.missing:,} missing in Bigtable, "
            f"{found.different:,} different{extra}"
        )
        if found.examples:
            output.print(f"Such as: {', '.join(found.examples)}")
    if not found.is_right:
        raise typer.Exit(1)


@app.command()
def explain(
    model: Model,
    version: Annotated[int | None, typer.Argument(help="The version; the latest one if it is left out.")] = None,
    *,
    as_json: AsJson = False,
) -> None:
    """Say why a version is active, refused, rolled back or stale, and what can be done."""
    state = _stores().registry().get(model)
    number = version or state.latest
    lines = explanation.explain(state, number, now_ms())
    if as_json:
        _print_json({**_version_json(state, number), "explanation": lines})
    else:
        output.print("\n".join(lines))


@app.command()
def promote(
    model: Model,
    version: Annotated[int | None, typer.Argument(help="The version; the latest one if it is left out.")] = None,
    *,
    reason: Reason = None,
    yes: Yes = False,
    as_json: AsJson = False,
) -> None:
    """Promote a complete version, which has been exported and not promoted."""
    _act(
        model,
        lambda stores, state: actions.promote(stores, state, version or state.latest),
        reason=reason,
        yes=yes,
        as_json=as_json,
    )


@app.command("roll-back")
def roll_back(
    model: Model,
    version: Annotated[int | None, typer.Argument(help="The version; the newest possible if it is left out.")] = None,
    *,
    reason: Reason = None,
    yes: Yes = False,
    as_json: AsJson = False,
) -> None:
    """Make an earlier promoted version the active one again."""
    _act(
        model, lambda stores, state: actions.roll_back(stores, state, version), reason=reason, yes=yes, as_json=as_json
    )


@app.command()
def abort(
    model: Model,
    version: Annotated[int | None, typer.Argument(help="The version; the latest one if it is left out.")] = None,
    *,
    reason: Reason = None,
    yes: Yes = False,
    as_json: AsJson = False,
) -> None:
    """End a version that was not promoted, such as one whose run is stuck."""
    _act(model, lambda _, state: actions.abort(state, version or state.latest), reason=reason, yes=yes, as_json=as_json)


@app.command()
def release(model: Model, *, reason: Reason = None, yes: Yes = False, as_json: AsJson = False) -> None:
    """End the run lease of a run that is lost, so that another run may open a version."""
    _act(model, lambda _, state: actions.release(state), reason=reason, yes=yes, as_json=as_json)


@app.command()
def retire(
    model: Model,
    *,
    reason: Reason = None,
    yes: Yes = False,
    confirm: Annotated[
        str | None, typer.Option(help="The model's name once more, instead of the second question.")
    ] = None,
    drop_family: Annotated[
        bool | None, typer.Option(help="Drop the column family; by default in a local stack, as Terraform owns others.")
    ] = None,
) -> None:
    """Delete a model: its predictions, its BigQuery models and tables, and its versions. Asks twice."""
    stores = _stores()
    state = stores.registry().get(model)
    retirement.require_no_run(state)
    owned = retirement.belongings(stores, state)
    drops = stores.is_local if drop_family is None else drop_family
    _say(
        f"{model} in {stores.title}",
        [
            f"Readers lose version {state.active}." if state.active else "Readers have no version.",
            f"The registry forgets the model and its versions: {len(state.versions)}.",
            *(f"BigQuery model {name} is dropped." for name in owned.models),
            *(f"BigQuery table {name} is dropped." for name in owned.tables),
            *(f"{name} stays: the registry does not have its version." for name in owned.strangers),
            f"Column family {model} of table {state.entity_type} is dropped, with all its cells."
            if drops
            else f"Column family {model} of table {state.entity_type} stays, for Terraform to drop.",
            f"If dags/pipelines/{model} exists, delete it: its next refresh would make the model anew.",
        ],
    )
    why = _ask(reason, yes=yes)
    again = (
        confirm if confirm is not None else typer.prompt(f"This cannot be undone. Type {model} to retire it", err=True)
    )
    if again != model:
        raise StoresError(f"{again!r} is not {model}; nothing was deleted")
    by = actions.signed()
    output.print(f"{by['at']} {by['by']} retires {model} of {stores.title}: {why}")
    for deleted in retirement.retire(stores, state, owned, drop_family=drops):
        output.print(f"  deleted {deleted}")
    if not drops:
        notes.print(
            f"Next, so that the cells go: delete dags/pipelines/{model}, and run terraform apply. Where tables are "
            "protected, set deletion_protection = false first."
        )


def _table(*columns: str) -> Table:
    """A table whose columns stay whole, but for the last one."""
    table = Table(box=box.SIMPLE)
    for name in columns:
        table.add_column(name, no_wrap=name != columns[-1])
    return table


def _stores() -> Stores:
    return Stores.find(Path.cwd())


def _act(
    model: str, prepare: Callable[[Stores, ModelState], Action], *, reason: str | None, yes: bool, as_json: bool
) -> None:
    """Show a change, ask for a reason and for consent, and make the change."""
    stores = _stores()
    action = prepare(stores, stores.registry().get(model))
    _say(f"{model} in {stores.title}", action.effects)
    state = action.perform(stores, _ask(reason, yes=yes))
    if as_json:
        _print_json(_model_json(state))
    else:
        output.print(f"Done: the active version of {model} is {state.active or 'none'}.")


def _say(title: str, lines: Sequence[str]) -> None:
    notes.print(title, style="bold")
    for line in lines:
        notes.print(f"  {line}")


def _ask(reason: str | None, *, yes: bool) -> str:
    """The reason; ask for it and for consent, unless they were given.

    Raises:
        typer.BadParameter: the reason is empty.
        typer.Abort: the person does not consent.
    """
    if yes and reason is None:
        raise typer.BadParameter("--yes needs --reason, which is recorded")
    given = typer.prompt("Reason", err=True) if reason is None else reason
    if not given.strip():
        raise typer.BadParameter("the reason is empty; it is recorded")
    if not yes:
        typer.confirm("Do it?", abort=True, err=True)
    return str(given).strip()


def _payload(stores: Stores, state: ModelState, version: int, entity: str) -> Any:
    """The prediction of an entity in Bigtable; None if there is none.

    Raises:
        StoresError: the version cannot be read.
    """
    record_of(state, version)
    if not state.is_readable(version):
        raise StoresError(f"{state.model}: version {version} cannot be read; readable: {comparison.readable(state)}")
    stored = stores.payloads(state, version, [entity])
    return json.loads(stored[entity]) if entity in stored else None


def _model_json(state: ModelState) -> dict[str, Any]:
    return {
        "model": state.model,
        "entity_type": state.entity_type,
        "active_version": state.active,
        "rollback_targets": state.rollback_targets(),
        "forward_targets": state.forward_targets(),
        "versions": [_version_json(state, version) for version in sorted(state.versions, reverse=True)],
    }


def _version_json(state: ModelState, version: int) -> dict[str, Any]:
    return {"version": version, "active": version == state.active, **asdict(record_of(state, version))}


def _age(version: int | None) -> str:
    return "" if version is None else actions.span(now_ms() - version)


def _print_json(document: object) -> None:
    sys.stdout.write(f"{json.dumps(document, indent=2)}\n")


def _fail(message: str, code: int = 1) -> None:
    notes.print(message, style="red")
    sys.exit(code)


if __name__ == "__main__":
    main()
