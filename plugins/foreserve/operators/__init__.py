"""The tasks of a refresh, of decisions about versions, and of the comparison with outcomes.

Airflow imports these modules whenever it parses a DAG file. So heavy imports are inside the tasks that need them. The
exceptions are the two operators of Airflow's providers that `RunQuery` and `RunBeamJob` extend.
"""

from foreserve.operators.beam import AwaitDataflowJob, RunBeamJob
from foreserve.operators.bigquery import RunQuery
from foreserve.operators.decisions import ChooseVersion, DecideVersion, SwitchVersion
from foreserve.operators.export import PrepareExport, RunExport, RunPurge, WaitForReplication
from foreserve.operators.gates import ApplyPredictionGate, ApplyQualityGate, NameKeptChampion
from foreserve.operators.outcomes import MeasureOutcomes
from foreserve.operators.smoke_test import RunSmokeTest
from foreserve.operators.versions import AbortVersion, CleanUp, ConfirmActive, OpenVersion, Promote

__all__ = [
    "AbortVersion",
    "ApplyPredictionGate",
    "ApplyQualityGate",
    "AwaitDataflowJob",
    "ChooseVersion",
    "CleanUp",
    "ConfirmActive",
    "DecideVersion",
    "MeasureOutcomes",
    "NameKeptChampion",
    "OpenVersion",
    "PrepareExport",
    "Promote",
    "RunBeamJob",
    "RunExport",
    "RunPurge",
    "RunQuery",
    "RunSmokeTest",
    "SwitchVersion",
    "WaitForReplication",
]
