"""The variables of a running local stack, for commands that should work beside it without settings."""

import json
import os
from pathlib import Path

STATE_FILE = Path(".state", "stack.json")
"""The file in which a running local stack keeps its addresses."""


def use_local_stack(folder: Path) -> bool:
    """Set the environment variables of the local stack that runs in a folder, or in one above it.

    Args:
        folder: the folder.

    Returns:
        False if no local stack runs there.
    """
    for parent in (folder, *folder.parents):
        file = parent / STATE_FILE
        if file.exists():
            os.environ.update(json.loads(file.read_text())["environment"])
            return True
    return False
