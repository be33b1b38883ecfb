"""The examples of infra/, evaluated by tfparse with the values of their .tfvars.example.

tfparse evaluates as Terraform's plan does. Values that only Google Cloud knows, such as a URL, are None or empty.
"""

import os
from collections import defaultdict
from pathlib import Path

from tfparse import load_from_path

ROOT = Path(__file__).parents[2]
INFRA = ROOT / "infra"
EXAMPLES = ["minimal", "production"]


class Evaluated:
    """A root module: its resources by type and address, its local values by module, and its output."""

    def __init__(self, folder, *more_values):
        more = [os.path.relpath(file, folder) for file in more_values]  # tfparse expects paths relative to the folder
        found = load_from_path(str(folder), vars_paths=["terraform.tfvars.example", *more])
        self.resources = defaultdict(dict)
        for kind, blocks in found.items():
            for block in blocks:
                if block["__tfmeta"].get("type") == "resource":
                    self.resources[kind][block["__tfmeta"]["path"].removeprefix("module.foreserve.")] = block
        self.locals = defaultdict(dict)
        for block in found["locals"]:
            module = block["__tfmeta"]["path"].removesuffix(".locals").removeprefix("module.foreserve.module.")
            self.locals[module] |= block
        outputs = {block["__tfmeta"]["path"]: block.get("value") for block in found["output"]}
        self.deployment = outputs["module.foreserve.output.deployment"]

    def one(self, kind):
        (block,) = self.resources[kind].values()
        return block
