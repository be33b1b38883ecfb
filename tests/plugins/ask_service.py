"""Sends requests to the lookup service as tasks do, in an Airflow of its own. Prints the status codes."""

import asyncio
import json
import os
import sys

import httpx

from foreserve.cloud import Cloud
from prediction_store.layout import Instance

CLOUD = Cloud("demo", "US", Instance("demo", "local"), "", "google_cloud_default", "prediction_api")


async def at_once(number):
    """Sends requests at the same time, like a load test."""
    async with httpx.AsyncClient(base_url=CLOUD.api_url(), auth=CLOUD.api_auth()) as client:
        answers = await asyncio.gather(*(client.get("/v1/models/m") for _ in range(number)))
    return [answer.status_code for answer in answers]


def one_by_one(number):
    with httpx.Client(base_url=CLOUD.api_url(), auth=CLOUD.api_auth()) as client:
        return [client.get("/v1/models/m").status_code for _ in range(number)]


if __name__ == "__main__":
    for connection in sys.stdin:
        os.environ["AIRFLOW_CONN_PREDICTION_API"] = connection
        sys.stdout.write(f"\n{json.dumps([*one_by_one(2), *asyncio.run(at_once(5))])}\n")
        sys.stdout.flush()
