"""Loads the DAGs and plugins of a deployed environment in the Airflow of this interpreter; prints them as JSON."""

import json
import sys
from pathlib import Path

from airflow.settings import DAGS_FOLDER

try:
    from airflow.dag_processing.dagbag import BundleDagBag as Bag
except ImportError:
    try:
        from airflow.models.dagbag import BundleDagBag as Bag  # before 3.2
    except ImportError:
        Bag = None

PLUGINS_FIRST = sys.argv[1] == "plugins first"


def plugins():
    """Return the names of the loaded plugins, and the errors by file."""
    from airflow import plugins_manager  # noqa: PLC0415  the test chooses the order

    if hasattr(plugins_manager, "_get_plugins"):
        loaded, errors = plugins_manager._get_plugins()
    else:  # before 3.2
        plugins_manager.ensure_plugins_loaded()
        loaded, errors = plugins_manager.plugins, plugins_manager.import_errors
    return [plugin.name for plugin in loaded], errors


def dags():
    """Return the bag of all DAGs. Their folder is on the Python path, as in the processes that parse and run DAGs."""
    if Bag is not None:
        return Bag(DAGS_FOLDER, bundle_path=Path(DAGS_FOLDER))
    from airflow.models.dagbag import DagBag  # noqa: PLC0415  Airflow 2
    from airflow.settings import prepare_syspath_for_dags_folder  # noqa: PLC0415  Airflow 2

    prepare_syspath_for_dags_folder()
    return DagBag(DAGS_FOLDER)


def main():
    found = plugins() if PLUGINS_FIRST else None
    bag = dags()
    names, errors = found or plugins()
    export = bag.dags["refresh_repeat_purchase"].get_task("export")
    ours = ("foreserve", "prediction_store", "refresh_factory", "beam_jobs")
    report = {
        "dags": sorted(bag.dags),
        "parsed": sorted(stat.file.removeprefix(DAGS_FOLDER).lstrip("/") for stat in bag.dagbag_stats),
        "errors": bag.import_errors,
        "plugins": [name for name in names if name == "foreserve"],
        "plugin_errors": {file: error for file, error in errors.items() if "foreserve" in file},
        "script": export.py_file,
        "image": export.pipeline_options.get("sdk_container_image"),
        "image_python": export.pipeline_options.get("image_python"),
        "modules": {name: module.__file__ for name, module in sys.modules.items() if name.split(".")[0] in ours},
    }
    sys.stdout.write(f"\n{json.dumps(report)}\n")


if __name__ == "__main__":
    main()
