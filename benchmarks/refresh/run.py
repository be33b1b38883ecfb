"""Runs a refresh in this process, and prints the times of its tasks as JSON: `python -m benchmarks.refresh.run CONF`.

`dag.test()` executes the tasks one after the other as Airflow's workers do. So their times have no share of Airflow's
scheduler, which starts each task in a process of its own.
"""

import json
import sys

from local_stack.settings import ROOT
from refresh_factory.dag import refresh_dag

PIPELINE = ROOT / "dags" / "pipelines" / "repeat_purchase" / "dag.py"

dag = refresh_dag(str(PIPELINE))


def main() -> None:
    """Run the refresh with the `conf` in the first argument. The report is the last line of the output."""
    run = dag.test(run_conf=json.loads(sys.argv[1]))
    times = {
        instance.task_id: (instance.start_date.timestamp(), instance.end_date.timestamp())
        for instance in run.get_task_instances()
        if instance.start_date and instance.end_date
    }
    sys.stdout.write(f"\n{json.dumps({'state': str(run.state), 'times': times})}\n")


if __name__ == "__main__":
    main()
