"""The tasks of a refresh that BigQuery and Beam do not do.

What is heavy to import (Google's clients, httpx) is imported by the tasks that need it: a DAG file imports these
modules every time it is parsed.
"""

from foreserve.operators.asking import CANNOT_ASK
from foreserve.operators.beam import AwaitDataflowJob, RunBeamJob
from foreserve.operators.bigquery import RunQuery
from foreserve.operators.export import PrepareExport, WaitForReplication
from foreserve.operators.gates import CheckPredictions, CheckQuality
from foreserve.operators.serving import ConfirmServed, SmokeTest
from foreserve.operators.versions import (
    AbandonVersion,
    ChooseRollback,
    CleanUp,
    OpenVersion,
    Promote,
    RollBack,
)

__all__ = [
    "CANNOT_ASK",
    "AbandonVersion",
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
