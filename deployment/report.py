"""What a deployment says, on the console."""

import time

from rich.console import Console
from rich.markup import escape

from deployment.execute import Failure
from deployment.outputs import Outputs
from deployment.plan import Plan
from deployment.steps import Step


class Report:
    """Tells of a deployment as it goes."""

    def __init__(self, console: Console, *, dry: bool) -> None:
        """Print on `console`.

        Args:
            console: where to.
            dry: nothing is done, so the steps are told once, each with its commands.
        """
        self._console = console
        self._dry = dry
        self._begun = 0.0
        self._working = console.status("working")  # on terminals only

    def detail(self, line: str) -> None:
        """What a step does, or would do."""
        self._print(f"    {line}", style="dim")

    def plan(self, plan: Plan, name: str) -> None:
        """What changes and what stays."""
        self._console.rule(f"{escape(name)}: {len(plan.steps)} steps" if plan.steps else f"{escape(name)}: up to date")
        for line in plan.unchanged:
            self._print(f"unchanged: {line}")
        if not self._dry:
            for number, step in enumerate(plan.steps, 1):
                self._step(step, number, len(plan.steps))

    def begin(self, step: Step, number: int, total: int) -> None:
        """A step begins."""
        self._begun = time.monotonic()
        self._print("")
        if self._dry:
            self._step(step, number, total)
        else:
            self._print(f"{number}/{total} {step.title}", style="bold")
            self._working.start()

    def done(self) -> None:
        """The step is done."""
        if not self._dry:
            self._working.stop()
            self._print(f"    done in {time.monotonic() - self._begun:.0f} s", style="green")

    def failed(self, reason: str) -> None:
        """The step failed."""
        self._working.stop()
        self._print(f"    failed: {reason}", style="red")

    def taking_back(self, step: Step) -> None:
        """A step failed, and one that was begun is taken back."""
        self._print(f"\nTaking back: {step.title}", style="bold")

    def outcome(self, failure: Failure) -> None:
        """How things are after a step failed."""
        self._print("\nHow things are now:", style="bold")
        for line in failure.as_before:
            self._print(f"  {line}", style="green")
        for line in failure.not_as_before:
            self._print(f"  NOT AS BEFORE: {line}", style="red")
        if failure.not_as_before:
            self._print(
                "Mend what stands in the way, and deploy again, or an earlier commit: each deployment looks first."
            )

    def next_steps(self, outputs: Outputs) -> None:
        """What can be done with what was deployed."""
        composer = outputs.composer
        environment = f"{composer.environment} --location={composer.location} --project={outputs.project}"
        self._print("\nDeployed. Within some minutes, Airflow takes the files over. Next:", style="bold")
        self._print("  trigger a refresh, in Airflow's UI:")
        self._print(f"    gcloud composer environments describe {environment} --format='value(config.airflowUri)'")
        self._print("  then look predictions up:")
        self._print(
            '    curl -H "Authorization: Bearer $(gcloud auth print-identity-token)" '
            f"{outputs.api.url}/v1/models/repeat_purchase/predictions/00003"
        )

    def say(self, text: str, style: str | None = None) -> None:
        """Print a line."""
        self._print(text, style)

    def _step(self, step: Step, number: int, total: int) -> None:
        self._print(f"{number}/{total} {step.title}", style="bold")
        for detail in step.details:
            self._print(f"    {detail}")

    def _print(self, text: str, style: str | None = None) -> None:
        self._console.print(text, style=style, markup=False, highlight=False, soft_wrap=True)
