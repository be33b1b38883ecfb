"""What writers did, as Beam's counters."""

from apache_beam.metrics.metric import Metrics

from beam_jobs.bulk_writer import BulkWriter


class WriteMetrics:
    """The counters of the writers of one DoFn."""

    def __init__(self, namespace: str) -> None:
        """Count under `namespace`."""
        self._bytes = Metrics.counter(namespace, "bytes")
        self._retries = Metrics.counter(namespace, "retries")
        # By this name, Dataflow knows of the waiting, and does not add workers to make up for it.
        self._throttled = Metrics.counter(namespace, "cumulativeThrottlingSeconds")
        self._fraction = 0.0

    def count(self, writer: BulkWriter) -> None:
        """Add what `writer` did since it was counted last."""
        tally = writer.take_tally()
        self._bytes.inc(tally.bytes)
        self._retries.inc(tally.retries)
        seconds, self._fraction = divmod(self._fraction + tally.throttled_seconds, 1)
        self._throttled.inc(int(seconds))
