"""The examples of infra/, evaluated by tfparse.

tfparse evaluates as Terraform's plan does. Made-up values replace those that only Google Cloud knows, such as a URL.
"""

import re
import shutil
from collections import defaultdict
from pathlib import Path

from tfparse import load_from_path

ROOT = Path(__file__).parents[2]
INFRA = ROOT / "infra"
MODULE = INFRA / "foreserve"
EXAMPLES = ["airflow_elsewhere", "minimal", "production"]
MADE_UP = {
    "google_cloud_run_v2_service.api.uri": "https://foreserve-api-abc.a.run.app",
    "google_service_account.airflow[0].email": "foreserve-airflow@shop-predictions.iam.gserviceaccount.com",
    "google_service_account.workers.email": "foreserve-workers@shop-predictions.iam.gserviceaccount.com",
    "google_service_account.api.email": "foreserve-api@shop-predictions.iam.gserviceaccount.com",
    "google_composer_environment.airflow[local.deployed_to].config[0].dag_gcs_prefix": "gs://composer-bucket/dags",
    "google_storage_bucket.jobs.project_number": "123456789012",
    "policy.name": "projects/shop-predictions/alertPolicies/1",
}


def copy_configuration(folder):
    """Copy infra/ and the files that it reads; return the copy of infra/."""
    folder.mkdir(exist_ok=True)
    for name in ("infra", "dags", "monitoring"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns(".terraform*", "*.tfstate*"))
    shutil.copy(ROOT / "requirements.txt", folder)
    return folder / "infra"


class Evaluated:
    """A root module: its resources by type and address, its local values, and its outputs.

    Args:
        infra: a copy of infra/, in which made-up values are written.
        example: the name of the example.
    """

    def __init__(self, infra, example):
        for file in (infra / "foreserve").glob("*.tf"):
            text = file.read_text()
            for unknown, value in MADE_UP.items():
                text = text.replace(unknown, f'"{value}"')
            file.write_text(text)
        found = load_from_path(str(infra / "examples" / example))
        self.resources = defaultdict(dict)
        for kind, blocks in found.items():
            for block in blocks:
                if block["__tfmeta"].get("type") == "resource":
                    self.resources[kind][block["__tfmeta"]["path"].removeprefix("module.foreserve.")] = block
        self.locals = {}
        for block in found["locals"]:
            if block["__tfmeta"]["path"].startswith("module."):
                self.locals |= block
        outputs = {block["__tfmeta"]["path"]: block.get("value") for block in found["output"]}
        self.deployment = outputs["module.foreserve.output.deployment"]
        self.airflow = outputs["module.foreserve.output.airflow"]

    def one(self, kind):
        (block,) = self.resources[kind].values()
        return block


def evaluate(folder, example, **arguments):
    """Evaluate an example in a folder, with other arguments of the module, given as HCL."""
    infra = copy_configuration(folder)
    file = infra / "examples" / example / "main.tf"
    text = file.read_text()
    for name, value in arguments.items():
        text, count = re.subn(
            rf"^(  {name} +=)(?: \{{$.*?^  \}}| .*?$)", rf"\1 {value}", text, flags=re.DOTALL | re.MULTILINE
        )
        assert count == 1, name
    file.write_text(text)
    return Evaluated(infra, example)
