"""Runs Airflow's BigQuery operators and hook; `test_clients.py` runs this script with Airflow's Python.

The argument is the name of a dataset. The environment has the address of BigQuery.
"""

import json
import sys
from unittest.mock import MagicMock

from airflow.exceptions import AirflowException
from airflow.providers.google.cloud.hooks.bigquery import BigQueryHook
from airflow.providers.google.cloud.operators.bigquery import BigQueryGetDataOperator, BigQueryInsertJobOperator


def insert(sql, job_id, **query):
    operator = BigQueryInsertJobOperator(
        task_id=job_id,
        job_id=job_id,
        force_rerun=False,
        configuration={"query": {"query": sql, "useLegacySql": False, **query}, "labels": {"from": "airflow"}},
        location="US",
    )
    return operator.execute(MagicMock())


def main(dataset: str) -> None:
    train = (
        f"CREATE OR REPLACE MODEL {dataset}.m OPTIONS(model_type='LINEAR_REG') "
        "AS SELECT x, 2 * x AS label FROM UNNEST([1, 2, 3]) AS x"
    )
    job_id = insert(train, "train")
    try:
        insert(train, "train")  # the same configuration makes the same job id
        refusal = ""
    except AirflowException as error:
        refusal = str(error)
    destination = {"projectId": "demo", "datasetId": dataset, "tableId": "predictions"}
    insert(
        f"SELECT CAST(ROUND(predicted_label) AS INT64) AS y FROM ML.PREDICT(MODEL {dataset}.m, (SELECT 4 AS x))",
        "predict",
        destinationTable=destination,
        writeDisposition="WRITE_TRUNCATE",
    )
    data = BigQueryGetDataOperator(task_id="get", dataset_id=dataset, table_id="predictions").execute(MagicMock())
    hook = BigQueryHook()
    job = hook.get_job(job_id=job_id, location="US")
    client = hook.get_client(project_id="demo")
    found = {
        "refusal": refusal,
        "data": data,
        "statement": job.statement_type,
        "labels": job.labels,
        "models": [model.model_id for model in client.list_models(dataset)],
    }
    print(json.dumps(found))  # noqa: T201  the result


if __name__ == "__main__":
    main(sys.argv[1])
