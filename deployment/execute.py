"""Does the steps of a plan; where one fails, takes all back that were begun."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from deployment.steps import Step


class Listener(Protocol):
    """Is told how far it is."""

    def begin(self, step: Step, number: int, total: int) -> None:
        """A step begins."""

    def done(self) -> None:
        """It is done."""

    def failed(self, reason: str) -> None:
        """It failed."""

    def taking_back(self, step: Step) -> None:
        """A step that was begun is taken back."""


@dataclass(frozen=True, slots=True)
class Failure:
    """How things are after a deployment of which a step failed.

    Attributes:
        as_before: what was taken back.
        not_as_before: what could not be, and why.
    """

    as_before: Sequence[str]
    not_as_before: Sequence[str]


def carry_out(steps: Sequence[Step], listener: Listener) -> Failure | None:
    """Do the steps, in order; None: all are done."""
    for index, step in enumerate(steps):
        listener.begin(step, index + 1, len(steps))
        try:
            step.apply()
        except (Exception, KeyboardInterrupt) as error:  # noqa: BLE001  whatever it was, it must not stay half done
            listener.failed(_text(error))
            return _take_back(steps[: index + 1], listener)
        listener.done()
    return None


def _take_back(begun: Sequence[Step], listener: Listener) -> Failure:
    as_before: list[str] = []
    not_as_before: list[str] = []
    for step in reversed(begun):
        listener.taking_back(step)
        try:
            as_before.append(step.undo())
        except (Exception, KeyboardInterrupt) as problem:  # noqa: BLE001  the others are to be taken back all the same
            not_as_before.append(f"{step.title}: {_text(problem)}")
    return Failure(as_before, not_as_before)


def _text(error: BaseException) -> str:
    return "interrupted" if isinstance(error, KeyboardInterrupt) else str(error) or type(error).__name__
