"""The base classes of all operators: registry access, and the refresh that a task works on."""

from __future__ import annotations

import functools
import logging
import math
import re
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from foreserve.airflow_compat import AirflowException, AirflowFailException, BaseOperator, triggering_user
from foreserve.refresh import Refresh
from prediction_store.details import Signed
from prediction_store.lifecycle import ModelState, RegistryBusyError, RegistryError, now_ms

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from foreserve.airflow_compat import Context, Param
    from foreserve.cloud import Cloud
    from prediction_store.registry import Registry

_FAILURE = "failure"
"""The key of the XCom with the reason why a task failed."""

_LONGEST_REASON = 500

OPEN_VERSION = "open_version"
"""The id of the task that opens a refresh's version. Its XCom is the refresh."""


_log = logging.getLogger(__name__)


class ErrorFirst(BaseOperator):
    """An operator that logs the first sentence of the error with which it fails, before Airflow logs the traceback.

    In Airflow's log, the message of an exception is indented below other lines.
    """

    def __init_subclass__(cls, **kwargs: Any) -> None:
        """Make the method `execute` log its error, whether the class defines it or inherits it from a provider."""
        super().__init_subclass__(**kwargs)
        method = cls.execute
        if method is not BaseOperator.execute:

            @functools.wraps(method)
            def execute(self: Any, *args: Any, **kwargs: Any) -> Any:
                with _logged_error():
                    return method(self, *args, **kwargs)

            cls.execute = execute  # type: ignore[method-assign]

    def resume_execution(self, *args: Any, **kwargs: Any) -> Any:
        """Go on after the task has waited in the triggerer, as Airflow's operators do; log an error."""
        with _logged_error():
            return super().resume_execution(*args, **kwargs)


@contextmanager
def _logged_error() -> Iterator[None]:
    """Log an error that passes, once. Exceptions by which Airflow skips or reschedules a task are no errors."""
    try:
        yield
    except Exception as error:
        is_failure = type(error) is AirflowException or isinstance(error, AirflowFailException)
        is_foreign = not isinstance(error, AirflowException)
        if (is_failure or is_foreign) and not getattr(error, "is_logged", False):
            error.is_logged = True  # type: ignore[attr-defined]
            _log.error("%s%s", f"{type(error).__name__}: " if is_foreign else "", first_sentence(error))
        raise


class CloudOperator(ErrorFirst):
    """A task that uses BigQuery, the version registry or the lookup service."""

    def __init__(self, *, cloud: Cloud, **kwargs: Any) -> None:
        """Use the clients of `cloud`; `kwargs` are those of every operator."""
        super().__init__(**kwargs)
        self.cloud = cloud

    @contextmanager
    def registry(self) -> Iterator[Registry]:
        """Open the version registry. Every task accesses the registry through this method.

        Raises:
            AirflowException: another run has the run lease, other writers were faster, or Bigtable does not answer. The
                task is tried again.
            AirflowFailException: the registry refused a step for another reason. The task fails without another try.
        """
        from grpc import RpcError

        try:
            yield self.cloud.registry()
        except RegistryBusyError as error:
            raise AirflowException(str(error)) from error
        except RegistryError as error:
            raise AirflowFailException(str(error)) from error
        except RpcError as error:  # its text has the reason in the second line
            reason = f"{error.code().name}: {error.details()}"
            raise AirflowException(f"the registry in Bigtable cannot be reached: {reason}") from error


class RefreshOperator(CloudOperator):
    """A task of a refresh whose version is open.

    `opened` is the refresh, from the XCom of the task `OPEN_VERSION`. It is set when Airflow renders the templates of
    the task, and is None if no version was opened.
    """

    template_fields: Sequence[str] = ("opened",)

    def __init__(self, **kwargs: Any) -> None:
        """Work on the refresh that the task `OPEN_VERSION` opened; `kwargs` are those of `CloudOperator`."""
        super().__init__(**kwargs)
        self.opened: Refresh | None = None

    def render_template_fields(self, context: Context, jinja_env: Any = None) -> None:
        """Render the templates, and set the fields that depend on the refresh.

        Airflow calls this before it runs or resumes the task, and then stores the fields for its page of rendered
        templates. No value that is set here is rendered as a template.
        """
        xcom = context["ti"].xcom_pull(task_ids=OPEN_VERSION)
        super().render_template_fields(context, jinja_env)
        if xcom is not None:
            self.opened = Refresh.from_xcom(xcom)
            self.set_fields(context)

    def set_fields(self, context: Context) -> None:
        """Set the fields that depend on the refresh. Subclasses override this."""

    @property
    def refresh(self) -> Refresh:
        """The refresh.

        Raises:
            AirflowFailException: no version was opened.
        """
        if self.opened is None:
            raise AirflowFailException(f"the task {OPEN_VERSION} has not opened a version")
        return self.opened

    def step(self, step: Callable[[ModelState], ModelState] = lambda state: state) -> ModelState:
        """Change the model's state in the registry, and renew the run lease; return the state that follows.

        Args:
            step: from the current state to the state that follows. Without it, only the run lease is renewed.

        Raises:
            AirflowException: other writers were faster.
            AirflowFailException: the step is not allowed.
        """
        refresh, now = self.refresh, now_ms()
        with self.registry() as registry:
            return registry.update(refresh.model, lambda state: step(state).renew_run_lease(refresh.version, now))


def keep_failure(context: Context) -> None:
    """Keep the first sentence of the error with which a task has failed after all tries, for `failures`.

    This is the failure callback of every task of a refresh.
    """
    sentence = first_sentence(context.get("exception"))
    context["ti"].xcom_push(key=_FAILURE, value=sentence or "failed without a message")


def first_sentence(error: object) -> str:
    """The first sentence of an error, without its full stop; empty if the error has no message."""
    return re.split(r"\.\s|\n", str(error or "").strip(), maxsplit=1)[0][:_LONGEST_REASON]


def failures(context: Context) -> dict[str, str]:
    """The reasons why tasks of this run have failed, by task id. A task that was ended from outside has none."""
    reasons = {task: context["ti"].xcom_pull(task_ids=task, key=_FAILURE) for task in context["dag"].task_ids}
    return {task: reason for task, reason in reasons.items() if reason}


def check_conf(context: Context) -> None:
    """Check the values with which a run was triggered, before anything is done.

    Airflow applies the JSON Schema of each field to its value. It ignores names that are no fields, and the schema of a
    number accepts NaN and infinity.

    Raises:
        AirflowFailException: a value is wrong, or is for no field. The message names all such values.
    """
    fields: dict[str, Param] = dict(context["dag"].params.items())  # type: ignore[no-untyped-call]
    problems = []
    for name, value in (getattr(context["dag_run"], "conf", None) or {}).items():
        if name not in fields:
            problems.append(f"{name}: no such field; there are {', '.join(fields)}")
        elif isinstance(value, float) and not math.isfinite(value):
            problems.append(f"{name}: {value} is no finite number")
        else:
            try:
                fields[name].resolve(value)
            except AirflowException as error:
                problems.append(f"{name}: {value!r}: {str(error).partition(chr(10))[0]}")
    if problems:
        raise AirflowFailException(f"the run's conf is refused, and nothing was done: {'; '.join(problems)}")


def signed(context: Context, by: str | None = None) -> Signed:
    """The author, run and time of a decision.

    Args:
        context: the context of the task that decides.
        by: who decided; None: the user who triggered the run, or else the run's type (such as `scheduled`).
    """
    run = context["dag_run"]
    by = by or triggering_user(run) or str(getattr(run.run_type, "value", run.run_type))
    return {"by": by, "run_id": run.run_id, "at": datetime.now(UTC).isoformat(timespec="seconds")}
