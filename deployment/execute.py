"""Executes the steps of a plan. If a step fails, undoes it and all steps before it."""

import time
from collections.abc import Sequence
from tempfile import TemporaryDirectory

from deployment.commands import Runner
from deployment.report import Report
from deployment.steps import Step


def execute(steps: Sequence[Step], runner: Runner, report: Report) -> bool:
    """Execute the steps in order; return True if all succeeded."""
    with TemporaryDirectory() as folder:
        for number, step in enumerate(steps, 1):
            begun = time.monotonic()
            report.say(f"\n{number}/{len(steps)} {step.title}", "bold")
            try:
                with report.working():
                    step.prepare(folder)
                    for command in step.commands(folder):
                        runner.run(command)
            except (Exception, KeyboardInterrupt) as error:  # noqa: BLE001  any failure must be undone
                report.say(f"    failed: {_message(error)}", "red")
                _undo(steps[:number], folder, runner, report)
                return False
            report.say(f"    done in {time.monotonic() - begun:.0f} s", "green")
    return True


def _undo(begun: Sequence[Step], folder: str, runner: Runner, report: Report) -> None:
    states: list[tuple[str, str]] = []
    for step in reversed(begun):
        report.say(f"\nUndoing: {step.title}", "bold")
        try:
            for command in step.undo(folder):
                runner.run(command)
            states.append((f"  {step.undone}", "green"))
        except (Exception, KeyboardInterrupt) as error:  # noqa: BLE001  the other steps must be undone all the same
            states.append((f"  NOT AS BEFORE: {step.title}: {_message(error)}", "red"))
    report.say("\nCurrent state:", "bold")
    for line, style in states:
        report.say(line, style)
    if any(style == "red" for _, style in states):
        report.say("Fix the cause. Then deploy again, or deploy an earlier commit: each deployment checks the state.")


def _message(error: BaseException) -> str:
    return "interrupted" if isinstance(error, KeyboardInterrupt) else str(error) or type(error).__name__
