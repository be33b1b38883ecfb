"""The tasks of a refresh.

A DAG file imports these modules every time it is parsed. What is heavy to import is imported by the tasks that need it,
but for what the two operators of Airflow's providers import that `RunQuery` and `RunBeamJob` extend.
"""

from foreserve.operators.beam import AwaitDataflowJob, RunBeamJob
from foreserve.operators.bigquery import RunQuery
from foreserve.operators.export import PrepareExport, WaitForReplication
from foreserve.operators.gates import CheckPredictions, CheckQuality
from foreserve.operators.human_approval import CANNOT_ASK
from foreserve.operators.smoke_test import ConfirmServed, SmokeTest
from foreserve.operators.versions import (
    AbortVersion,
    ChooseRollback,
    CleanUp,
    OpenVersion,
    Promote,
    RollBack,
)

__all__ = [
    "CANNOT_ASK",
    "AbortVersion",
    "AwaitDataflowJob",
    "CheckPredictions",
    "CheckQuality",
    "ChooseRollback",
    "CleanUp",
    "ConfirmServed",
    "OpenVersion",
    "PrepareExport",
    "Promote",
    "RollBack",
    "RunBeamJob",
    "RunQuery",
    "SmokeTest",
    "WaitForReplication",
]
