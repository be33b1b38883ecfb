"""Runs a refresh in this interpreter's Airflow, in this process. Prints the states of run and tasks, as JSON."""

import json
import sys

from refresh_factory.dag import refresh_dag

dag = refresh_dag(sys.argv[1])

if __name__ == "__main__":
    run = dag.test(run_conf=json.loads(sys.argv[2]))
    tasks = {instance.task_id: instance.state for instance in run.get_task_instances()}
    sys.stdout.write(f"\n{json.dumps({'state': run.state, 'tasks': tasks})}\n")
