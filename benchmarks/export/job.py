"""One export in a process of its own: `python -m benchmarks.export.job native|beam OPTIONS`.

The options are those of the export job. Prints the job's time and memory, without the imports, as a line of JSON.
"""

import json
import logging
import sys

from beam_jobs import export_predictions
from benchmarks.export import stock_connectors
from benchmarks.export.cost import measured

_EXPORTS = {"native": export_predictions.run, "beam": stock_connectors.run}


def main() -> None:
    """Run the export, and print its cost."""
    logging.basicConfig(level=logging.ERROR)
    with measured() as cost:
        _EXPORTS[sys.argv[1]](sys.argv[2:])
    sys.stdout.write(json.dumps(cost) + "\n")


if __name__ == "__main__":
    main()
