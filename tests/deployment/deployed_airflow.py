"""An Airflow that finds Foreserve's packages only in the folders that Composer fills from the bucket."""

import json
import os
import subprocess
from pathlib import Path
from shutil import copytree, ignore_patterns
from tempfile import TemporaryDirectory

ROOT = Path(__file__).parents[2]
IMAGE = "europe-west1-docker.pkg.dev/shop-predictions/foreserve/beam-jobs@sha256:0a1b"
OURS = ("FORESERVE_", "AIRFLOW_", "PYTHONPATH")
ENVIRONMENT = {
    "FORESERVE_PROJECT": "shop-predictions",
    "FORESERVE_BIGTABLE_INSTANCE": "foreserve",
    "FORESERVE_DATAFLOW_TEMP_LOCATION": "gs://shop-predictions-dataflow/jobs",
}


def lay_out(folder):
    """Write `dags/` and `plugins/` into a folder, as the bucket has them."""
    with TemporaryDirectory() as temporary:
        tree, groups = Path(temporary, "tree"), Path(temporary, "groups")
        for name in ("dags", "plugins", "prediction_store", "beam_jobs"):
            copytree(ROOT / name, tree / name, ignore=ignore_patterns("__pycache__"))
        subprocess.run([ROOT / "deployment/arrange", tree, IMAGE, "3.11", groups], check=True)
        for group in ("modules", "pipelines", "dag_files"):
            copytree(groups / group, folder, dirs_exist_ok=True)


def bare_environment(gcs, home, plugins):
    """Return the environment variables of an Airflow process, without the paths of Foreserve's packages.

    Args:
        gcs: the folder that contains `dags/`.
        home: the home folder of Airflow.
        plugins: the folder of plugins.
    """
    return {
        **{name: value for name, value in os.environ.items() if not name.startswith(OURS)},
        **ENVIRONMENT,
        "AIRFLOW_HOME": str(home),
        "AIRFLOW__CORE__DAGS_FOLDER": str(gcs / "dags"),
        "AIRFLOW__CORE__PLUGINS_FOLDER": str(plugins),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{home}/airflow.db",
    }


def load_dags(python, gcs, home, plugins, order):
    """Return the DAGs and plugins that an Airflow loads, as `load_dags.py` reports them.

    Args:
        python: the interpreter of the Airflow.
        gcs: the folder that contains `dags/`.
        home: the home folder of Airflow.
        plugins: the folder of plugins.
        order: "plugins first" or "DAGs first".
    """
    command = [python, "-P", Path(__file__).with_name("load_dags.py"), order]
    environment = bare_environment(gcs, home, plugins)
    ended = subprocess.run(command, cwd=home, env=environment, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stdout[-5_000:] + ended.stderr[-5_000:]
    return json.loads(ended.stdout.splitlines()[-1])


def check(report, gcs):
    """Assert that all DAGs were loaded from `gcs` alone, and have the script and the image of the deployment."""
    pipelines = [path.parent.name for path in ROOT.glob("dags/pipelines/*/dag.py")]
    assert report["errors"] == {}
    assert report["plugin_errors"] == {}
    others = {"abort_version", "outcomes_repeat_purchase", "release_run", "roll_back"}
    assert set(report["dags"]) == others | {f"refresh_{name}" for name in pipelines}
    assert report["parsed"] == sorted(["decisions.py", *(f"pipelines/{name}/dag.py" for name in pipelines)])
    assert report["script"] == str(gcs / "dags" / "beam_jobs" / "export_predictions.py")
    assert (report["image"], report["image_python"]) == (IMAGE, "3.11")
    assert [file for file in report["modules"].values() if not Path(file).is_relative_to(gcs)] == []
