"""Bare reads, one after the other, in a process of its own: `python -m benchmarks.serving.read_loop ENTITIES SECONDS`.

The lower bound of a lookup's latency: ReadRows of one row on a blocking gRPC channel, with the service's request, and a
check of the answer. Prints latencies as a line of JSON.
"""

import json
import random
import sys
import time
from array import array
from dataclasses import asdict

from grpc.experimental import ChannelOptions

from benchmarks.serving.load_generator import LoadResult, percentiles
from benchmarks.serving.predictions import ENTITY_TYPE, INSTANCE, MODEL, VERSION, entity_id, payload
from prediction_store.connection import channel, read_rows, routing_metadata
from prediction_store.layout import row_key
from prediction_store.messages import prediction_filter, read_request


def main() -> None:
    """Read random rows, and print the result.

    Raises:
        RuntimeError: a row has another value than expected.
    """
    entities, seconds = int(sys.argv[1]), float(sys.argv[2])
    table = INSTANCE.table(ENTITY_TYPE)
    metadata = (routing_metadata(table, ""),)
    row_filter = prediction_filter({MODEL: VERSION})
    chance = random.Random(0)  # noqa: S311  the same in every run
    latencies = array("d")
    with channel([(ChannelOptions.SingleThreadedUnaryStream, 1)]) as opened:
        read = read_rows(opened)
        cpu, end = time.process_time(), time.perf_counter() + seconds
        while time.perf_counter() < end:
            number = int(chance.random() * entities)
            started = time.perf_counter()
            key = row_key(entity_id(number), "plain")
            values = [
                chunk.value
                for response in read(read_request(table, "", (key,), row_filter), metadata=metadata)
                for chunk in response.chunks
            ]
            latencies.append(time.perf_counter() - started)
            if values != [payload(number)]:
                raise RuntimeError(f"{key!r}: read {values}")
        cpu = time.process_time() - cpu
    reads = len(latencies)
    result = LoadResult(reads, reads, in_time=reads, seconds=seconds, load_cpu_seconds=cpu)
    result.p50_ms, result.p99_ms, result.p999_ms, result.max_ms = percentiles(latencies)
    sys.stdout.write(json.dumps(asdict(result)) + "\n")


if __name__ == "__main__":
    main()
