"""The checker of pipelines: finds mistakes without running anything (`make check-pipelines`).

`rules` has the checks, `options` the options of CREATE MODEL, `schemas` the recorded columns of tables. The analyzer is
`local_bigquery.analyzer`, which no DAG file imports.
"""

import sys
from pathlib import Path

# The analyzer lies in a distribution of its own, which the environment of Airflow does not have.
_LOCAL_BIGQUERY = str(Path(__file__).parents[3] / "local_bigquery" / "src")
if _LOCAL_BIGQUERY not in sys.path:
    sys.path.append(_LOCAL_BIGQUERY)
