"""What a stack needs before its first refresh: the version registry, and purchases to learn from."""

import sys

from local_stack import sample_data
from local_stack.stack import INSTANCE, PROJECT
from prediction_store.layout import Instance
from prediction_store.tables import Tables


def prepare() -> sample_data.Arrival:
    """Create the registry, and load the first purchases if there are none."""
    Tables(Instance(PROJECT, INSTANCE)).ensure_registry()
    return sample_data.first_purchases(sample_data.warehouse())


if __name__ == "__main__":
    sys.stdout.write(f"{prepare()}\n")
