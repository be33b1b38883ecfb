"""A burst of writes as of a refresh: `python -m benchmarks.serving.writes ENTITIES SECONDS ROWS_PER_SECOND`.

Writes cells of the next version, which nobody reads, in requests of a hundred rows. Prints the rows per second.
"""

import sys
import time

from benchmarks.serving.predictions import ENTITY_TYPE, INSTANCE, MODEL, VERSION, entity_id, payload
from prediction_store.connection import channel, mutate_rows, routing_metadata
from prediction_store.layout import row_key
from prediction_store.messages import MutateRowsRequest, prediction_entry

_ROWS = 100  # of a request


def main() -> None:
    """Write until the time has passed."""
    entities, seconds, rate = int(sys.argv[1]), float(sys.argv[2]), float(sys.argv[3])
    table = INSTANCE.table(ENTITY_TYPE)
    entry, cell = prediction_entry(MODEL, VERSION + 1)
    started, rows = time.perf_counter(), 0
    with channel() as opened:
        write = mutate_rows(opened)
        while (passed := time.perf_counter() - started) < seconds:
            if rows > rate * passed:
                time.sleep(_ROWS / rate)
                continue
            request = MutateRowsRequest(table_name=table)
            for number in range(rows, rows + _ROWS):
                name = number % entities
                entry.row_key, cell.value = row_key(entity_id(name), "plain"), payload(name)
                request.entries.append(entry)
            list(write(request.SerializeToString(), metadata=(routing_metadata(table, ""),)))
            rows += _ROWS
    sys.stdout.write(f"{rows / passed:.0f}\n")


if __name__ == "__main__":
    main()
