"""Asking a person, in Airflow's own way (human in the loop): Airflow 3.1 and later."""

from __future__ import annotations

from abc import abstractmethod
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from foreserve.airflow_compat import Param

if TYPE_CHECKING:
    from collections.abc import Sequence

    from foreserve.airflow_compat import Context

ANSWER_WITHIN = timedelta(hours=24)
"""Without an answer by then, the refresh stops: the next one is waiting for it to end."""

STOP = "Stop"

CANNOT_ASK: str | None = None
try:
    from airflow.providers.standard.operators.hitl import HITLOperator as Asker
except Exception as error:  # noqa: BLE001  an ImportError, or an exception of Airflow's whose class moves between versions
    from foreserve.airflow_compat import BaseOperator as Asker  # type: ignore[assignment]  # which cannot ask, and is not asked to

    CANNOT_ASK = str(error)


class AskingOperator(Asker):
    """A task that may ask a person; it then holds no worker slot until there is an answer."""

    def __init__(self, *, subject: str, options: Sequence[str], **kwargs: Any) -> None:
        """Be able to ask.

        Args:
            subject: the question.
            options: all answers that there may be, besides `STOP`.
            kwargs: those of every operator.
        """
        if not CANNOT_ASK:
            kwargs |= {
                "subject": subject,
                "options": [*options, STOP],
                "defaults": STOP,
                "params": {"why": Param("", type="string", title="Reason", description="Recorded with the version.")},
                "response_timeout": ANSWER_WITHIN,
            }
        super().__init__(**kwargs)

    def ask(self, context: Context, problem: str, options: Sequence[str]) -> None:
        """Show the problem, and wait: Airflow goes on with `execute_complete`, which calls `answered`.

        Args:
            context: of the task.
            problem: what the person must know, in Markdown.
            options: the answers that are possible now, besides `STOP`.
        """
        self.body = problem
        self.options = [*options, STOP]
        super().execute(context)

    def execute_complete(self, context: Context, event: dict[str, Any]) -> Any:
        """Go on with the answer."""
        answer = super().execute_complete(context, event)
        person = answer["responded_by_user"]
        by = person["name"] if person else f"nobody answered in {ANSWER_WITHIN.total_seconds() / 3600:g} h"
        return self.answered(context, answer["chosen_options"][0], by, answer["params_input"].get("why") or "")

    @abstractmethod
    def answered(self, context: Context, option: str, by: str, why: str) -> Any:
        """Act on an answer; returns the task's result.

        Args:
            context: of the task.
            option: the answer.
            by: who gave it.
            why: the reason given, if any.
        """
