"""The demo: another week of purchases, a refresh of `repeat_purchase`, and lookups of three customers."""

from typing import Any

from rich.console import Console

from local_stack import sample_data
from local_stack.refresh import RefreshResult, run_refresh
from local_stack.stack import Stack

MODEL = "repeat_purchase"
DAG_ID = f"refresh_{MODEL}"
CUSTOMERS = ("00001", "00003", "00499")
"""Three customers, who bought once, six times and 44 times."""


def refresh(stack: Stack, console: Console, params: dict[str, Any]) -> RefreshResult:
    """Load a week of purchases, run the refresh DAG, and look customers up.

    Args:
        stack: a running stack.
        console: shows the progress.
        params: the parameters of the DAG run.

    Raises:
        AirflowError: Airflow does not answer, or refuses the run.
    """
    with console.status("loading another week of purchases"):
        arrival = sample_data.next_week(sample_data.warehouse())
    console.print(f"[green]✓[/] {arrival}")
    return run_refresh(stack, console, MODEL, params, CUSTOMERS)
