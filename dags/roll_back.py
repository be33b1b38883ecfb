"""The Airflow DAG by which a person rolls a model back to an earlier version."""

from foreserve.airflow_compat import DAG, Param
from foreserve.operators import ChooseRollback, ConfirmActive, RollBack
from refresh_factory.environment import Environment

_CLOUD = Environment().cloud()

with DAG(
    dag_id="roll_back",
    description="Roll a model back to an earlier version.",
    schedule=None,
    tags=["foreserve"],
    params={
        "model": Param(type="string", title="Model", description="Such as repeat_purchase."),
        "version": Param(
            default=None,
            type=["null", "string"],
            title="Version",
            pattern="^[0-9]*$",
            description="Empty: the one before the active one. /v1/models/MODEL of the lookup service lists them.",
        ),
        "reason": Param(
            default=None,
            type=["null", "string"],
            format="multiline",
            title="Reason",
            description="Recorded with the version that was active.",
        ),
    },
):
    choose = ChooseRollback(
        task_id="choose", cloud=_CLOUD, model="{{ params.model }}", version="{{ params.version or '' }}"
    )
    roll_back = RollBack(task_id="roll_back", cloud=_CLOUD, model="{{ params.model }}", version=choose.output)
    confirm = ConfirmActive(task_id="confirm", cloud=_CLOUD, model="{{ params.model }}", version=choose.output)
    roll_back >> confirm
