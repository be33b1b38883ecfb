"""Record the schemas of the tables that a pipeline reads: `python -m refresh_factory.check.record NAME`."""

import argparse
import os
import sys
from dataclasses import replace
from pathlib import Path

from google.api_core.exceptions import GoogleAPICallError, RetryError
from google.auth.exceptions import GoogleAuthError
from requests.exceptions import RequestException

from refresh_factory.check.bigquery import RunningBigQuery
from refresh_factory.check.schemas import write_schemas
from refresh_factory.pipeline import PIPELINES, PipelineError, load_pipeline


def main() -> int:
    """Write schemas.yaml of a pipeline; print problems, one a line; return 1 if there is one."""
    parser = argparse.ArgumentParser(prog="python -m refresh_factory.check.record", description=__doc__)
    parser.add_argument("name", help="the pipeline's name")
    in_cloud = "FORESERVE_PROJECT" in os.environ and "BIGQUERY_EMULATOR_HOST" not in os.environ
    where = "cloud" if in_cloud else "local"
    parser.add_argument("--bigquery", choices=("local", "cloud"), default=where, help="default: %(default)s")
    arguments = parser.parse_args()
    folder = PIPELINES / arguments.name
    try:
        pipeline = load_pipeline(folder)
        tables, problems = RunningBigQuery(arguments.bigquery).schemas(folder, pipeline)
    except PipelineError as error:
        tables, problems = {}, list(error.problems)
    except (GoogleAPICallError, GoogleAuthError, RequestException, RetryError) as error:
        sys.stderr.write(f"BigQuery does not answer: {error}; run make up first, or give BIGQUERY=cloud\n")
        return 1
    for problem in problems:
        sys.stdout.write(f"{replace(problem, file=Path(os.path.relpath(problem.file)))}\n")
    if problems:
        return 1
    written = write_schemas(folder, tables)
    sys.stdout.write(f"{os.path.relpath(written)}: {', '.join(tables) or 'no tables'}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
