"""Beam's own connectors on the local stack: `with on_local_stack(): ...`.

`WriteToBigTable` finds the emulator by `BIGTABLE_EMULATOR_HOST`; `ReadFromBigQuery` knows nothing of the kind.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest import mock

import grpc
from apache_beam.io.gcp.bigquery_tools import BigQueryWrapper
from apache_beam.io.gcp.internal.clients.bigquery import BigqueryV2
from google.cloud import bigquery_storage_v1
from google.cloud.bigquery_storage import BigQueryReadClient
from google.cloud.bigquery_storage_v1.services.big_query_read.transports import BigQueryReadGrpcTransport


@contextmanager
def on_local_stack() -> Iterator[None]:
    """Let jobs of this process read from `BIGQUERY_EMULATOR_HOST` and `BIGQUERY_STORAGE_EMULATOR_HOST`."""
    with (
        mock.patch.object(bigquery_storage_v1, "BigQueryReadClient", _storage_client),
        mock.patch.object(BigQueryWrapper, "_bigquery_client", staticmethod(_rest_client)),
        # Nothing is there to clean up after a table was read; and as the emulator does not select datasets by label,
        # it would be asked to delete them all.
        mock.patch.object(BigQueryWrapper, "_clean_up_beam_labelled_temporary_datasets"),
    ):
        yield


def _storage_client() -> BigQueryReadClient:
    no_limit = [("grpc.max_receive_message_length", -1)]
    channel = grpc.insecure_channel(os.environ["BIGQUERY_STORAGE_EMULATOR_HOST"], no_limit)
    return BigQueryReadClient(transport=BigQueryReadGrpcTransport(channel=channel))


def _rest_client(_options: Any) -> BigqueryV2:
    return BigqueryV2(url=f"{os.environ['BIGQUERY_EMULATOR_HOST']}/bigquery/v2/", get_credentials=False)
