"""Approval by a person in Airflow's UI (human in the loop, Airflow 3.1 and later)."""

from __future__ import annotations

from abc import abstractmethod
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from foreserve.airflow_compat import HITL_UNAVAILABLE, HITLOperator, Param

if TYPE_CHECKING:
    from collections.abc import Sequence

    from foreserve.airflow_compat import Context

ANSWER_WITHIN = timedelta(hours=24)
"""The time for an answer. After it, the refresh stops, because the next refresh waits for its end."""

STOP = "Stop"
"""The answer that every question has."""


class HumanApprovalOperator(HITLOperator):
    """A task that may ask a person. It holds no worker slot until there is an answer."""

    def __init__(self, *, subject: str, options: Sequence[str], **kwargs: Any) -> None:
        """Prepare the question. In an Airflow that cannot ask a person, `ask` must not be called.

        Args:
            subject: the question.
            options: all possible answers, besides `STOP`.
            kwargs: those of every operator.
        """
        if HITL_UNAVAILABLE is None:
            kwargs |= {
                "subject": subject,
                "options": [*options, STOP],
                "defaults": STOP,
                "params": {"why": Param("", type="string", title="Reason", description="Recorded with the version.")},
                "response_timeout": ANSWER_WITHIN,
            }
        super().__init__(**kwargs)

    def ask(self, context: Context, problem: str, options: Sequence[str]) -> None:
        """Show the problem, and wait. Airflow then calls `execute_complete`, which calls `answered`.

        Args:
            context: the context of the task.
            problem: the facts that the person must know, in Markdown.
            options: the answers that are possible now, besides `STOP`.
        """
        self.body = problem
        self.options = [*options, STOP]
        super().execute(context)

    def execute_complete(self, context: Context, event: dict[str, Any]) -> Any:
        """Continue with the answer."""
        answer = super().execute_complete(context, event)
        person = answer["responded_by_user"]
        by = person["name"] if person else f"nobody answered in {ANSWER_WITHIN.total_seconds() / 3600:g} h"
        return self.answered(context, answer["chosen_options"][0], by, answer["params_input"].get("why") or "")

    @abstractmethod
    def answered(self, context: Context, option: str, by: str, why: str) -> Any:
        """Act on an answer; return the task's result.

        Args:
            context: the context of the task.
            option: the answer.
            by: the name of the person, or the reason why there is none.
            why: the reason that the person gave; empty if none.
        """
