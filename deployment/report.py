"""The output of a deployment on the console, without secrets."""

from collections.abc import Iterable

from rich.console import Console
from rich.markup import escape
from rich.status import Status

from deployment.outputs import Outputs
from deployment.plan import Plan

_SHORTEST_SECRET = 4


class Report:
    """Prints to the console."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._secrets: list[str] = []

    def hide(self, secrets: Iterable[str]) -> None:
        """Print *** in place of these texts from now on."""
        # Longer ones first: one secret may contain another.
        self._secrets = sorted((text for text in secrets if len(text) >= _SHORTEST_SECRET), key=len, reverse=True)

    def say(self, text: str, style: str | None = None) -> None:
        """Print a text."""
        for secret in self._secrets:
            text = text.replace(secret, "***")
        self._console.print(text, style=style, markup=False, highlight=False, soft_wrap=True)

    def command(self, line: str) -> None:
        """Print a command line."""
        self.say(f"    $ {line}", "dim")

    def working(self) -> Status:
        """Return a context in which a terminal shows that a command runs."""
        return self._console.status("working")

    def plan(self, plan: Plan, name: str, *, with_commands: bool) -> None:
        """Print the steps, and the parts that are up to date.

        Args:
            plan: the plan.
            name: the environment and the commit.
            with_commands: print the commands of each step.
        """
        self._console.rule(f"{escape(name)}: {len(plan.steps)} steps" if plan.steps else f"{escape(name)}: up to date")
        for line in plan.unchanged:
            self.say(f"unchanged: {line}")
        for number, step in enumerate(plan.steps, 1):
            self.say(f"\n{number}/{len(plan.steps)} {step.title}", "bold")
            for line in step.details:
                self.say(f"    {line}")
            for command in step.commands("<temporary folder>") if with_commands else []:
                self.command(str(command))

    def next_steps(self, outputs: Outputs) -> None:
        """Print the tasks that follow a deployment."""
        composer = outputs.composer
        environment = f"{composer.environment} --location={composer.location} --project={outputs.project}"
        self.say("\nDeployed. Airflow reads the new files within some minutes. Next:", "bold")
        self.say("  trigger a refresh, in Airflow's UI:")
        self.say(f"    gcloud composer environments describe {environment} --format='value(config.airflowUri)'")
        self.say("  then look up predictions:")
        self.say(
            '    curl -H "Authorization: Bearer $(gcloud auth print-identity-token)" '
            f"{outputs.api.url}/v1/models/repeat_purchase/predictions/00003"
        )
