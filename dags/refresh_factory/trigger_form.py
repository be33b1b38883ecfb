"""The form with which a person triggers a refresh. A scheduled run has the defaults."""

from foreserve.airflow_compat import Param
from foreserve.smoke_test import SmokeTest


def trigger_form(smoke_test: SmokeTest) -> dict[str, Param]:
    """The fields of the form.

    Args:
        smoke_test: the pipeline's smoke test, which applies where a field is left empty.
    """
    return {
        "retrain": Param(
            default=True,
            type="boolean",
            title="Retrain",
            description="Train and evaluate a candidate. Off: predict with the champion.",
        ),
        "compare": Param(
            default=True,
            type="boolean",
            title="Compare with the champion",
            description="Off: evaluate the candidate alone, if the champion cannot read the new features.",
        ),
        "export": Param(
            default="changes",
            type="string",
            enum=["changes", "full"],
            values_display={
                "changes": "Only the differences from the active version",
                "full": "Every prediction",
            },
            title="Export",
            description="Readers get the same. Choose every prediction if cells may have been lost.",
        ),
        "promote": Param(
            default=True,
            type="boolean",
            title="Promote",
            description="Off: stop after the smoke test. The version can be previewed with ?version=.",
        ),
        "override_gates": Param(
            default=False,
            type="boolean",
            title="Override the gates",
            description="Go on despite a breach of quality_gate or prediction_gate. Needs a reason.",
            section="Gates",
        ),
        "reason": Param(
            default=None,
            type=["null", "string"],  # a "string" alone must be filled in
            format="multiline",
            title="Reason",
            description="Recorded with the version.",
            section="Gates",
        ),
        "smoke_test_requests": Param(
            default=None,
            type=["null", "integer"],
            minimum=100,
            title="Lookups",
            description=f"Number; fewer than 100 have no 99th percentile. Empty: {smoke_test.requests:,}.",
            section="Smoke test",
        ),
        "smoke_test_rate": Param(
            default=None,
            type=["null", "number"],
            exclusiveMinimum=0,
            title="Lookups a second",
            description=f"Empty: {smoke_test.rate:g}.",
            section="Smoke test",
        ),
        "smoke_test_objective_p99_ms": Param(
            default=None,
            type=["null", "number"],
            exclusiveMinimum=0,
            title="Objective in milliseconds",
            description=f"Largest 99th percentile of the latency. Empty: {smoke_test.objective_p99_ms:g}.",
            section="Smoke test",
        ),
    }
