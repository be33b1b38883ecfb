"""The Airflow DAGs by which a person decides about versions. The page *Predictions* triggers them."""

from typing import Any

from foreserve.airflow_compat import DAG, Param
from foreserve.operators import ChooseVersion, ConfirmActive, DecideVersion, SwitchVersion
from foreserve.operators.base import keep_failure
from refresh_factory.environment import Environment

_CLOUD = Environment().cloud()
_MODEL, _VERSION, _SHOWN = "{{ params.model }}", "{{ params.version or '' }}", "{{ params.shown | tojson }}"


def _form(version: str, *, is_required: bool) -> dict[str, Param]:
    """The fields of the trigger form: model, version, reason, and what the page has shown.

    Args:
        version: the description of the version.
        is_required: True if version and reason are required.
    """
    kind: dict[str, Any] = {"type": "string", "minLength": 1} if is_required else {"type": ["null", "string"]}
    default: dict[str, Any] = {} if is_required else {"default": None}
    return {
        "model": Param(type="string", title="Model", description="Such as repeat_purchase."),
        "version": Param(**default, **kind, title="Version", pattern="^[0-9]*$", description=version),
        "reason": Param(
            **default, **kind, format="multiline", title="Reason", description="Recorded with the version."
        ),
        "shown": Param(
            default=None,
            type=["null", "object"],
            title="Shown",
            description="Filled in by the page: the versions as it showed them. If they have changed, the run fails.",
        ),
    }


def _decision(dag_id: str, description: str, version: str, *, is_required: bool = True) -> DAG:
    return DAG(
        dag_id=dag_id,
        description=description,
        schedule=None,
        # Terraform makes Composer pause new DAGs. A run of a paused DAG waits, so a rollback would wait, too.
        is_paused_upon_creation=False,
        tags=["foreserve"],
        default_args={"on_failure_callback": [keep_failure]},
        params=_form(version, is_required=is_required),
    )


with _decision(
    "roll_back",
    "Roll a model back to an earlier version, go forward again, or promote a version that is ready.",
    "Empty: the version before the active one. Until the next refresh begins, a version that is ready, or from which "
    "readers were rolled back, is possible too. /v1/models/MODEL of the lookup service lists the possible versions.",
    is_required=False,
):
    choose = ChooseVersion(task_id="choose", cloud=_CLOUD, model=_MODEL, version=_VERSION)
    roll_back = SwitchVersion(task_id="roll_back", cloud=_CLOUD, model=_MODEL, version=choose.output, shown=_SHOWN)
    confirm = ConfirmActive(task_id="confirm", cloud=_CLOUD, model=_MODEL, version=choose.output)
    roll_back >> confirm

with _decision(
    "abort_version",
    "End a version that was not promoted, such as one whose run is stuck.",
    "The version to end. Readers keep theirs.",
):
    DecideVersion(task_id="abort_version", cloud=_CLOUD, decision="abort", model=_MODEL, version=_VERSION, shown=_SHOWN)

with _decision(
    "release_run",
    "End the run lease of a run that is lost, so that another run may open a version.",
    "The latest version, which the run was making.",
):
    DecideVersion(task_id="release_run", cloud=_CLOUD, decision="release", model=_MODEL, version=_VERSION, shown=_SHOWN)
