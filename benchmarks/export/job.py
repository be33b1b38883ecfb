"""One export in a process of its own: `python -m benchmarks.export.job native|beam OPTIONS`.

The options are those of the export job. Prints the job's time and memory, without the imports, as a line of JSON.
"""

import importlib
import json
import logging
import sys

from benchmarks.export.cost import measured

_EXPORTS = {"native": "beam_jobs.export_predictions", "beam": "benchmarks.export.stock_connectors"}


def main() -> None:
    """Run the export, and print its cost."""
    logging.basicConfig(level=logging.ERROR)
    export = importlib.import_module(_EXPORTS[sys.argv[1]])
    with measured() as cost:
        export.run(sys.argv[2:])
    sys.stdout.write(json.dumps(cost) + "\n")


if __name__ == "__main__":
    main()
