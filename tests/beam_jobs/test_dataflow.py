"""Jobs that are submitted to a stand-in for Dataflow, and then run on this machine as they were submitted."""

import json
import os
import re
import subprocess
import sys
from dataclasses import replace
from types import SimpleNamespace
from zipfile import ZipFile

import pytest
from airflow.providers.google.cloud.hooks.dataflow import DataflowHook
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.portability.api import beam_runner_api_pb2
from apache_beam.runners.dataflow.dataflow_runner import DataflowRunner
from apache_beam.runners.portability.fn_api_runner.fn_runner import FnApiRunner
from apache_beam.transforms.environments import SubprocessSDKEnvironment
from google.api_core.client_options import ClientOptions
from google.cloud import bigquery as bq
from google.cloud.bigquery_storage_v1.types import CreateReadSessionRequest
from google.cloud.dataflow_v1beta3 import WorkerIPAddressConfiguration

from beam_jobs import launch
from beam_jobs.launch import HARNESS_THREADS, job_name
from foreserve.refresh import Refresh
from local_stack.servers import ROOT
from prediction_store.lifecycle import ModelState, Receipt, Status
from prediction_store.tables import Tables
from refresh_factory.dag import refresh_dag
from tests.beam_jobs.fake_dataflow import running
from tests.beam_jobs.proxy import proxy

MODEL = "repeat_purchase"  # of the DAG
PROJECT = "demo"
ROWS = {f"{number:05}": f'"{number:0300}"' for number in range(5_000)} | {"vanished": None}  # BigQuery splits 1 MB
WORKERS = 3
OPTIONS = {
    "region": "europe-west1",
    "temp_location": "gs://demo-temp/jobs",
    "service_account_email": f"workers@{PROJECT}.iam.gserviceaccount.com",
    "machine_type": "n2-standard-4",
    "max_num_workers": 20,
    "subnetwork": "regions/europe-west1/subnetworks/private",
    "use_public_ips": False,
    "labels": {"team": "growth"},
}


@pytest.fixture(scope="module")
def google(bigtable, bigquery, tmp_path_factory):
    """A stand-in for Dataflow, which commands that this process starts find by their environment."""
    with running(tmp_path_factory.mktemp("google")) as google, pytest.MonkeyPatch.context() as environment:
        for name, value in {**google.client_environment(), "PYTHONPATH": str(ROOT)}.items():
            environment.setenv(name, value)
        yield google


@pytest.fixture(scope="module")
def version(instance, registry, warehouse):
    """A version of the model whose export has begun and whose changes are in BigQuery."""
    Tables(instance).ensure_model(registry.register(ModelState(MODEL, "customer")))
    schema = [bq.SchemaField("entity_id", "STRING"), bq.SchemaField("payload", "STRING")]
    records = [{"entity_id": entity_id, "payload": payload} for entity_id, payload in ROWS.items()]
    config = bq.LoadJobConfig(schema=schema, write_disposition="WRITE_TRUNCATE")
    warehouse.load_table_from_json(records, source_table(1), job_config=config).result()
    version = registry.update(MODEL, lambda state: state.open(1)).latest
    registry.update(MODEL, lambda state: state.begin_export(version))
    return version


def source_table(version):
    return f"demo.exports.{MODEL}_changes_{version}"


@pytest.fixture(scope="module")
def submit(google, instance):
    """Run a job's command; return the job that Dataflow received."""

    def run_command(module, version, **options):
        options = {
            "runner": "DataflowRunner",
            "dataflow_endpoint": google.url,
            "project": PROJECT,
            "bigtable_project": instance.project,
            "bigtable_instance": instance.instance,
            "model": MODEL,
            "version": version,
            **OPTIONS,
            **options,
        }
        use_public_ips, labels = options.pop("use_public_ips"), options.pop("labels")
        command = [sys.executable, "-m", f"beam_jobs.{module}", *(f"--{k}={v}" for k, v in options.items())]
        command += [f"--labels={name}={value}" for name, value in labels.items()]
        command += [] if use_public_ips else ["--no_use_public_ips"]
        ended = subprocess.run(command, check=False, cwd="/", capture_output=True, text=True, timeout=60)
        assert ended.returncode == 0, ended.stderr
        return Submitted(google, next(reversed(google.jobs.values())), ended.stderr)

    return run_command


class Submitted:
    """A job as Dataflow received it."""

    def __init__(self, google, job, log=""):
        self.google = google
        self.job = job
        self.log = log
        self.options = job["environment"]["sdkPipelineOptions"]["options"]
        (self.pool,) = job["environment"]["workerPools"]

    @property
    def pipeline(self):
        """The pipeline as it was staged."""
        return beam_runner_api_pb2.Pipeline.FromString(self.google.objects[self.options["pipelineUrl"]])

    def package(self, suffix):
        """The content of the staged package whose name has this suffix."""
        (package,) = [package for package in self.pool["packages"] if package["name"].endswith(suffix)]
        return self.google.objects[package["location"].replace("storage.googleapis.com/", "gs://")]

    def unpack(self, folder):
        """Unpack the wheel."""
        wheel = folder / "wheel.zip"
        wheel.write_bytes(self.package(".whl"))
        with ZipFile(wheel) as archive:
            archive.extractall(folder / "packages")
        return folder / "packages"

    def run(self, folder):
        """Run the submitted pipeline in processes that have only the staged packages; return its counters.

        Workers are started by a command instead of in containers. They get the options that Dataflow would give them.
        """
        started, options = folder / "started", folder / "options.json"
        options.write_text(json.dumps({"options": self.options}))
        command = (
            f'cd / && echo $$ >> {started} && PYTHONPATH={self.unpack(folder)} PIPELINE_OPTIONS="$(cat {options})" '
            f"exec {sys.executable} -P -m apache_beam.runners.worker.sdk_worker_main"
        )
        pipeline = self.pipeline
        for environment in pipeline.components.environments.values():
            here = SubprocessSDKEnvironment.from_command_string(command).to_runner_api(None)
            environment.urn, environment.payload = here.urn, here.payload
            del environment.dependencies[:]
        runner = FnApiRunner()
        runner._num_workers = WORKERS  # an option only for pipelines that are built in this process
        result = runner.run_via_runner_api(pipeline, PipelineOptions([]))
        assert len(started.read_text().split()) == WORKERS
        return {metric.key.metric.name: metric.result for metric in result.metrics().query()["counters"]}


@pytest.fixture(scope="module")
def export_job(submit, version):
    return submit("export_predictions", version, source_table=source_table(version))


def test_the_job_is_as_the_options_say(export_job):
    environment, pool = export_job.job["environment"], export_job.pool
    assert (export_job.job["projectId"], export_job.job["location"]) == (PROJECT, "europe-west1")
    assert environment["serviceAccountEmail"] == OPTIONS["service_account_email"]
    assert environment["tempStoragePrefix"].startswith("storage.googleapis.com/demo-temp/jobs/")
    assert pool["machineType"] == "n2-standard-4"
    assert pool["autoscalingSettings"]["maxNumWorkers"] == 20
    assert pool["numThreadsPerWorker"] == HARNESS_THREADS
    assert pool["subnetwork"] == OPTIONS["subnetwork"]
    assert pool["ipConfiguration"] == WorkerIPAddressConfiguration.WORKER_IP_PRIVATE
    assert "use_runner_v2" in environment["experiments"]


def test_the_name_has_model_and_version_and_the_labels_have_the_model(export_job, version):
    assert re.fullmatch(rf"export-repeat-purchase-{version}-[0-9a-f]{{8}}", export_job.job["name"])
    assert export_job.job["labels"] == {"team": "growth", "model": MODEL}


def test_a_long_model_name_makes_a_valid_job_name():
    name = job_name("export", "m_" * 25, 1_795_462_342_077)
    assert re.fullmatch(r"[a-z]([-a-z0-9]{0,61}[a-z0-9])?", name)
    assert "-1795462342077-" in name


def test_two_tries_have_two_names():
    assert job_name("export", MODEL, 1) != job_name("export", MODEL, 1)


def test_the_command_says_where_to_follow_the_job(export_job):
    assert f"https://console.cloud.google.com/dataflow/jobs/europe-west1/{export_job.job['id']}" in export_job.log
    assert "does not need this process any more" in export_job.log


def test_workers_get_every_module_and_need_no_other(export_job, tmp_path):
    packages = export_job.unpack(tmp_path)
    modules = {
        path.relative_to(ROOT) for name in ("beam_jobs", "prediction_store") for path in (ROOT / name).rglob("*.py")
    }
    assert {path.relative_to(packages) for path in packages.rglob("*.py")} == modules
    names = [str(path.with_suffix("")).replace("/", ".").removesuffix(".__init__") for path in modules]
    program = (
        f"import importlib, beam_jobs; [importlib.import_module(name) for name in {names}]; print(beam_jobs.__file__)"
    )
    environment = {**os.environ, "PYTHONPATH": str(packages)}
    file = subprocess.check_output([sys.executable, "-c", program], cwd="/", env=environment, text=True).strip()
    assert file == str(packages / "beam_jobs" / "__init__.py")


def test_nothing_of_the_launching_script_is_needed(export_job):
    assert not export_job.options["save_main_session"]
    assert b"__main__" not in export_job.pipeline.SerializeToString()


def test_a_job_is_submitted_once_although_dataflow_refuses_the_call(google, submit, version):
    """Beam makes it again after a 5xx. After a 429 the command fails, and Airflow tries the task again."""
    jobs = len(google.jobs)
    google.failures.append((503, "UNAVAILABLE"))
    submit("export_predictions", version, source_table=source_table(version))
    assert not google.failures
    assert len(google.jobs) == jobs + 1


def test_no_secret_is_sent(export_job, google):
    key = json.loads(google.key_file.read_text())
    sent = [json.dumps(export_job.job).encode(), *google.objects.values()]
    assert google.tokens > 0
    for secret in (key["private_key"].splitlines()[1], "an-access-token", key["private_key_id"]):
        assert not any(secret.encode() in content for content in sent)


def test_an_image_brings_the_packages_itself(submit, registry, version):
    image = "europe-west1-docker.pkg.dev/demo-project/jobs/beam-jobs:1"
    purge = submit("purge_stale_cells", version, sdk_container_image=image)
    assert [harness["containerImage"] for harness in purge.pool["sdkHarnessContainerImages"]] == [image]
    assert purge.pool.get("packages", []) == []
    assert purge.job["name"].startswith(f"purge-repeat-purchase-{version}-")


def test_an_image_of_another_python_is_refused_before_the_job_is_submitted():
    # Workers of another version would fail to load the steps.
    options = PipelineOptions(
        [
            "--runner=DataflowRunner",
            "--bigtable_project=p",
            "--bigtable_instance=i",
            "--model=m",
            "--version=1",
            "--sdk_container_image=beam-jobs:1",
            "--image_python=3.1",
        ]
    )
    with pytest.raises(SystemExit, match=r"submits the job, but the workers' image has 3\.1: let FORESERVE_PYTHON"):
        launch.launch(SimpleNamespace(runner=DataflowRunner(), options=options), "export")


@pytest.fixture(scope="module")
def from_the_dag(google, version):
    """Run the DAG's export task as Airflow does; return the submitted job and the task's XComs."""
    environment = {
        "AIRFLOW_CONN_GOOGLE_CLOUD_DEFAULT": '{"conn_type": "google_cloud_platform", "extra": {"is_anonymous": true}}',
        "FORESERVE_PROJECT": PROJECT,
        "FORESERVE_BIGTABLE_INSTANCE": "beam",
        "FORESERVE_PYTHON": sys.executable,
        "FORESERVE_REGION": OPTIONS["region"],
        "FORESERVE_BEAM_OPTIONS": json.dumps({"dataflow_endpoint": google.url}),
    }
    for name in OPTIONS.keys() - {"region"}:
        value = OPTIONS[name]
        environment[f"FORESERVE_DATAFLOW_{name.upper()}"] = value if isinstance(value, str) else json.dumps(value)
    task_instance = TaskInstance(Refresh(MODEL, version, f"{PROJECT}.exports", cutoff="2026-11-23T05:00:00+00:00"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(DataflowHook, "get_client_options", lambda _: ClientOptions(api_endpoint=google.url))
        for name, value in environment.items():
            patch.setenv(name, value)
        task = refresh_dag(ROOT / "dags" / "pipelines" / MODEL / "dag.py").get_task("export")
        context = {"ti": task_instance, "task": task}
        task.render_template_fields(context)
        task.execute(context)
    return Submitted(google, next(reversed(google.jobs.values()))), task_instance.pushed


class TaskInstance:
    """A stand-in for Airflow's task instance: its XComs."""

    def __init__(self, refresh):
        self.refresh = refresh
        self.pushed = {}

    def xcom_pull(self, task_ids):
        assert task_ids == "open_version"
        return self.refresh.to_xcom()

    def xcom_push(self, key, value):
        self.pushed[key] = value


def test_the_dag_submits_the_same_job(export_job, from_the_dag):
    job, _ = from_the_dag
    assert job.job["labels"].pop("airflow-version")
    assert comparable(job.job) == comparable(export_job.job)
    assert comparable(str(without_writers(job.pipeline))) == comparable(str(without_writers(export_job.pipeline)))
    assert job.package(".whl") == export_job.package(".whl")


def without_writers(pipeline):
    """The pipeline without the function for writing, which has a random key for its shared flow control."""
    (writers,) = [t for t in pipeline.components.transforms.values() if t.unique_name == "Write cells"]
    writers.spec.ClearField("payload")
    return pipeline


def comparable(document):
    """A job or pipeline without the parts that differ between two submissions."""
    if not isinstance(document, str):
        environment = document["environment"]
        options = {"labels": None, "extra_packages": None, "pipelineProtoHash": None}
        options = {**environment["sdkPipelineOptions"]["options"], **options}
        document = {**document, "environment": {**environment, "sdkPipelineOptions": options}}
        document = json.dumps({**document, "id": None, "clientRequestId": None}, sort_keys=True)
    return re.sub(r"export-repeat-purchase-\d+-[0-9a-f]{8}(\.\d+\.\d+)?", "NAME", document)


def test_the_dag_passes_the_job_to_the_task_that_awaits_it(from_the_dag):
    job, pushed = from_the_dag
    assert pushed["dataflow_job_id"] == job.job["id"]
    assert pushed["dataflow_job_config"]["region"] == OPTIONS["region"]


@pytest.fixture(scope="module")
def exported(export_job, tmp_path_factory):
    """Run the submitted export; return its counters, its number of readers, and the numbers of streams asked for."""
    readers, streams = set(), []

    def several_streams(context, request, answers):
        # BigQuery chooses the number of streams. The local one makes as many as it is asked for.
        asked = CreateReadSessionRequest.deserialize(request)
        streams.append(asked.preferred_min_stream_count)
        asked.preferred_min_stream_count, asked.max_stream_count = 0, 2 * WORKERS
        yield from answers(CreateReadSessionRequest.serialize(asked))

    def note_reader(context, request, answers):
        readers.add(context.peer())
        yield from answers()

    storage = os.environ["BIGQUERY_STORAGE_EMULATOR_HOST"]
    with (
        proxy(storage, CreateReadSession=several_streams, ReadRows=note_reader) as address,
        pytest.MonkeyPatch.context() as environment,
    ):
        environment.setenv("BIGQUERY_STORAGE_EMULATOR_HOST", address)
        counters = export_job.run(tmp_path_factory.mktemp("export"))
    return counters, len(readers), streams


def test_several_workers_export_what_was_submitted(exported, registry, stored, version):
    counters, readers, streams = exported
    assert readers > 1
    assert streams == [32 * OPTIONS["max_num_workers"]]  # BigQuery would make one stream of a small table
    assert stored(MODEL, version) == {entity_id: payload or "" for entity_id, payload in ROWS.items()}
    assert registry.get(MODEL).versions[version].receipt == Receipt(5_000, 1)
    assert (counters["rows_read"], counters["predictions"], counters["tombstones"]) == (5_001, 5_000, 1)


def test_several_workers_purge_what_was_submitted(exported, registry, stored, submit, tmp_path, version):
    step = registry.get(MODEL).abort(version, None, reason="a test", now=1)
    registry.update(MODEL, lambda _: replace(step, write_lease_until=0))  # so that no purge waits for its end
    following = registry.update(MODEL, lambda state: state.open(version + 1)).latest
    submit("purge_stale_cells", following).run(tmp_path)
    assert stored(MODEL, following) == {}
    assert registry.get(MODEL).versions[version].status is Status.PURGED
