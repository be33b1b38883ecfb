"""The Airflow DAG by which a person makes another version of a model the active one."""

from foreserve.airflow_compat import DAG, Param
from foreserve.operators import ChooseVersion, ConfirmActive, SwitchVersion
from refresh_factory.environment import Environment

_CLOUD = Environment().cloud()

with DAG(
    dag_id="roll_back",
    description="Roll a model back to an earlier version, go forward again, or promote a version that is ready.",
    schedule=None,
    tags=["foreserve"],
    params={
        "model": Param(type="string", title="Model", description="Such as repeat_purchase."),
        "version": Param(
            default=None,
            type=["null", "string"],
            title="Version",
            pattern="^[0-9]*$",
            description="Empty: the one before the active one. Also one that is ready, or that readers were rolled "
            "back from, until the next refresh begins. /v1/models/MODEL of the lookup service lists them.",
        ),
        "reason": Param(
            default=None,
            type=["null", "string"],
            format="multiline",
            title="Reason",
            description="Recorded with the version.",
        ),
    },
):
    choose = ChooseVersion(
        task_id="choose", cloud=_CLOUD, model="{{ params.model }}", version="{{ params.version or '' }}"
    )
    roll_back = SwitchVersion(task_id="roll_back", cloud=_CLOUD, model="{{ params.model }}", version=choose.output)
    confirm = ConfirmActive(task_id="confirm", cloud=_CLOUD, model="{{ params.model }}", version=choose.output)
    roll_back >> confirm
