"""Whole deployments by the command, against stand-ins for gcloud, docker and terraform."""

import itertools
import re
import shlex
import shutil
import signal
import subprocess

import promql_parser as promql
import pytest

from tests.deployment.conftest import INSTALLED, commit, git
from tests.waiting import wait_for

SQL = "dags/pipelines/repeat_purchase/predict.sql"
RECORD = "data/foreserve/deployment.txt"


@pytest.fixture
def deployed(project):
    """A cloud after a first deployment."""
    project.deploy()
    return project


def change(project, *paths):
    """Append a comment to files, and commit them."""
    for path in paths:
        with (project.tree / path).open("a") as file:
            file.write("\n# a change\n" if path.endswith(".py") else "\n-- a change\n")
    commit(project.tree)


def changing(calls):
    """Return the calls that change something."""
    verbs = ("build", "push", "deploy", "update-traffic", "rsync", "rm", "cp")
    return [call for call in calls if any(verb in call for verb in verbs)]


def recorded(files):
    """Return the lines of the record without those of files."""
    return dict(line.split("=", 1) for line in files[RECORD].decode().splitlines() if not line.startswith("file="))


def splits(project):
    """Return the divisions of the traffic, in order."""
    words = [word for call in project.calls() for word in call]
    return [word.partition("=")[2] for word in words if word.startswith("--to-revisions=")]


def tags(project):
    return {package.rpartition("/")[2]: list(tags) for package, tags in project.load("registry").items()}


def test_a_first_deployment(project):
    before = project.snapshot()
    said = project.deploy()
    files = project.files()
    assert before["files"].items() <= files.items()
    dag = "dags/pipelines/repeat_purchase/dag.py"
    assert files[dag] == (project.tree / dag).read_bytes()
    assert files["dags/foreserve/cloud.py"] == files["plugins/foreserve/cloud.py"]
    for package in ("beam_jobs", "prediction_store", "refresh_factory", "foreserve"):
        assert f"dags/{package}/__init__.py" in files
        assert f"dags/{package}/.airflowignore" in files
    assert not [path for path in files if "Dockerfile" in path or "__pycache__" in path]

    service, registry = project.load("service"), project.load("registry")
    assert service["traffic"] == {"api-00002": 100}
    images = {
        package.rpartition("/")[2]: f"{package}@{digest}"
        for package, tags in registry.items()
        for digest in tags.values()
    }
    assert service["revisions"]["api-00002"] == images["serving-api"]
    settings = f"SDK_CONTAINER_IMAGE={images['beam-jobs']}", "IMAGE_PYTHON=3.11"
    deployed = "".join(f"FORESERVE_DATAFLOW_{line}\n" for line in settings)
    assert files["dags/refresh_factory/deployed.env"].decode() == deployed
    head = git(project.tree, "rev-parse", "--short=12", "HEAD").strip()
    before = {"commit_before": "", "revision_before": ""}
    assert recorded(files) == {"commit": head, "revision": "api-00002", **before}
    assert splits(project) == ["api-00002=100"]  # the placeholder of Terraform has no users
    assert "Deployed." in said


def test_images_are_tagged_by_content_and_the_workers_have_the_beam_of_airflow(deployed):
    assert re.fullmatch(r"[0-9a-f]{12}", tags(deployed)["serving-api"][0])
    assert re.fullmatch(r"[0-9a-f]{12}-python-3\.11-beam-2\.73\.0", tags(deployed)["beam-jobs"][0])
    workers, lookups = [call for call in deployed.calls() if "build" in call]
    head = git(deployed.tree, "rev-parse", "--short=12", "HEAD").strip()
    assert f"--build-arg=BUILD={head}" in lookups
    assert {"--build-arg=BEAM_VERSION=2.73.0", "--build-arg=PYTHON_VERSION=3.11"} <= set(workers)


def test_a_shallow_clone_has_the_same_images(deployed, tmp_path):
    (deployed.tree / "README.md").write_text("A commit that changes no image")
    commit(deployed.tree)
    git(tmp_path, "clone", "-q", "--depth=1", f"file://{deployed.tree}", "shallow")
    (tmp_path / "shallow" / "infra" / "environments" / "test").mkdir(parents=True, exist_ok=True)
    before = tags(deployed)
    deployed.tree = tmp_path / "shallow"
    deployed.deploy()
    assert tags(deployed) == before


def test_no_revision_is_named(deployed):
    """gcloud names a revision that it tags. Terraform would send the name again, with another template."""
    (deploy,) = [call for call in deployed.calls() if "deploy" in call]
    assert not [word for word in deploy if word.startswith(("--tag", "--revision-suffix"))]


def test_modules_are_uploaded_first_and_dag_files_last(deployed):
    uploads = [call[-1].partition("europe-west1-b/")[2] for call in deployed.calls() if {"rsync", "cp"} & set(call)]
    # The record, modules, SQL and YAML, DAG files, the record
    assert uploads == [RECORD, "dags", "plugins", "dags", "dags", RECORD]


def test_a_second_deployment_changes_nothing(deployed):
    before = deployed.snapshot()
    deployed.deploy()
    assert {call[2] for call in changing(deployed.calls())} == {"rsync", "cp"}
    assert deployed.snapshot() == before


def test_traffic_moves_in_steps_while_errors_and_latency_are_watched(deployed):
    change(deployed, "serving_api/app.py")
    said = deployed.deploy(WATCH="60")
    assert splits(deployed) == ["api-00003=10,api-00002=90", "api-00003=50,api-00002=50", "api-00003=100"]
    assert said.count("watch errors and latency of api-00003 for 60 s") == 3
    assert len(deployed.http.queries) == 3 * 2 * 2  # shares, looks, queries
    for query in deployed.http.queries:
        assert promql.parse(query)
    lookups = [request for request in deployed.http.requests if "deployment-test" in request]
    assert len(lookups) == 2 * 50  # of two deployments
    assert all(request.startswith("GET next---api.example/v1/models/repeat_purchase/") for request in lookups)


@pytest.mark.parametrize(
    ("metric", "reason"),
    [
        ("failed", "the share of server errors of api-00003 is 130"),
        ("slow", "the 99th percentile of api-00003 is 130 ms, more than twice that of api-00002"),
    ],
)
def test_a_revision_that_answers_worse_loses_its_traffic(deployed, metric, reason):
    before = deployed.snapshot()
    change(deployed, "serving_api/app.py", SQL)
    setattr(deployed.http, metric, 130)
    code, said = deployed.run(APPLY="1")
    assert code == 1
    assert f"FAILED: {reason}" in said
    assert "All lookups go to api-00002 again" in said
    assert splits(deployed) == ["api-00003=10,api-00002=90", "api-00002=100"]
    assert deployed.snapshot() == before


def test_a_revision_that_fails_its_test_gets_no_traffic(deployed):
    before = deployed.snapshot()
    change(deployed, "serving_api/app.py")
    deployed.http.service_status = 503
    code, said = deployed.run(APPLY="1")
    assert code == 1
    assert "503 application/json http://next---api.example/v1/models" in said
    assert "Lookups go where they went before, mostly to api-00002" in said
    assert deployed.snapshot() == before


def test_a_service_with_keys_of_its_own_is_not_tested(deployed):
    change(deployed, "serving_api/app.py")
    deployed.http.service_status, deployed.http.content_type = 401, "application/problem+json"
    assert "admits only its callers" in deployed.deploy()


def test_a_service_account_names_the_audience_of_its_token(project):
    project.change("settings", service_account=True)
    project.deploy()
    audiences = [word for call in project.calls() for word in call if word.startswith("--audiences")]
    assert audiences == ["--audiences=http://api.example"]


def test_traffic_that_moved_although_gcloud_failed_counts_as_moved(deployed):
    """gcloud fails without the right to wait for the operation, although Cloud Run does what it asked for."""
    change(deployed, "serving_api/app.py")
    for verb in ("deploy", "update-traffic"):
        code, said = deployed.run(APPLY="1", WATCH="0", failure=f"{verb} - after")
        assert "it failed when all was done" in said
        assert code == 0, said
        change(deployed, "serving_api/app.py")


def test_only_a_changed_pipeline_is_uploaded(deployed):
    before = deployed.files()
    change(deployed, SQL)
    deployed.deploy()
    files = deployed.files()
    assert {path for path in files if files[path] != before.get(path)} == {SQL, RECORD}
    assert not [call for call in deployed.calls() if "build" in call or "deploy" in call or "update-traffic" in call]


def test_a_change_of_the_beam_jobs_only_builds_their_image(deployed):
    traffic = deployed.load("service")["traffic"]
    before = deployed.files()["dags/refresh_factory/deployed.env"]
    change(deployed, "beam_jobs/mutations.py")
    deployed.deploy()
    assert [call[0:2] for call in deployed.calls() if call[0] == "docker"] == [["docker", "build"], ["docker", "push"]]
    assert deployed.load("service")["traffic"] == traffic
    assert deployed.files()["dags/refresh_factory/deployed.env"] != before


def test_only_files_of_an_earlier_deployment_are_removed(deployed):
    for path in ("dags/pipelines/customer_segment", "plugins/foreserve/links.py"):
        git(deployed.tree, "rm", "-qr", path)
    commit(deployed.tree)
    before = deployed.files()
    deployed.deploy()
    gone = before.keys() - deployed.files().keys()
    assert gone == {path for path in before if "customer_segment" in path or path.endswith("foreserve/links.py")}
    assert "rm" in deployed.calls()[-2]


def test_back_and_forth(deployed):
    first = deployed.snapshot()
    change(deployed, "serving_api/app.py", "beam_jobs/mutations.py", SQL)
    git(deployed.tree, "rm", "-qr", "dags/pipelines/customer_segment")
    commit(deployed.tree)
    deployed.deploy()
    second = deployed.snapshot()
    deployed.deploy()  # the same again: the deployment before stays the first one
    assert deployed.snapshot() == second
    said = deployed.deploy("back")
    assert splits(deployed) == ["api-00002=100"]
    assert not [call for call in deployed.calls() if "build" in call]
    assert not_recorded(deployed.snapshot()) == not_recorded(first), said
    deployed.deploy("back")
    assert not_recorded(deployed.snapshot()) == not_recorded(second)


def not_recorded(snapshot):
    files = {path: content for path, content in snapshot["files"].items() if path != RECORD}
    return {"files": files, "traffic": snapshot["traffic"]}


def test_nothing_before_the_first_deployment_to_go_back_to(deployed):
    before = deployed.snapshot()
    code, said = deployed.run("back", APPLY="1")
    assert code == 1
    assert "has no deployment before this one" in said
    assert deployed.snapshot() == before


def test_traffic_goes_back_also_if_the_commit_is_missing(deployed, tmp_path):
    change(deployed, "serving_api/app.py")
    deployed.deploy()
    git(tmp_path, "clone", "-q", "--depth=1", f"file://{deployed.tree}", "shallow")
    (tmp_path / "shallow" / "infra" / "environments" / "test").mkdir(parents=True, exist_ok=True)
    deployed.tree = tmp_path / "shallow"
    code, said = deployed.run("back", APPLY="1")
    assert code == 1
    assert re.search(r"this clone has no commit [0-9a-f]{12}: fetch it", said)
    assert "All lookups go to api-00002. Airflow still has the files of" in said
    assert deployed.load("service")["traffic"] == {"api-00002": 100}


def shown(said):
    """Return the commands in an output, with the plan's names for values that a deployment determines."""
    commands = re.findall(r"^ +\$ (.+)$", said, re.MULTILINE)
    reads = ("images list", "services describe", "storage cat")
    commands = [command for command in commands if not any(read in command for read in reads)]
    return [re.sub(r"sha256:\w{64}", "DIGEST", re.sub(r"api-00003", "NEW", command)) for command in commands]


def test_without_apply_nothing_is_changed_and_every_command_is_shown(deployed):
    change(deployed, "serving_api/app.py", "beam_jobs/mutations.py", SQL)
    before = deployed.snapshot()
    code, plan = deployed.run()
    assert code == 0
    assert changing(deployed.calls()) == []
    assert deployed.snapshot() == before
    assert shown(plan) == shown(deployed.deploy())


@pytest.mark.slow
def test_any_call_that_fails_leaves_a_state_that_is_told_and_that_a_next_deployment_completes(deployed):
    """An upgrade that changes everything, in which each call fails half-way.

    A call that cannot be done by half, such as a move of the traffic, is done whole and then fails.
    """
    before = deployed.snapshot()
    saved = {name: deployed.load(name) for name in ("registry", "service")}
    copy = shutil.copytree(deployed.bucket, deployed.state / "before")
    change(deployed, "serving_api/app.py", "beam_jobs/mutations.py", "plugins/foreserve/quality_gate.py", SQL)
    git(deployed.tree, "rm", "-qr", "dags/pipelines/customer_segment")
    (deployed.tree / "dags/shared/more.sql").write_text("SELECT 2")
    commit(deployed.tree)
    failed = {}
    for number in itertools.count(1):
        for name, content in saved.items():
            deployed.save(name, content)
        shutil.rmtree(deployed.bucket)
        shutil.copytree(copy, deployed.bucket)
        code, said = deployed.run(APPLY="1", WATCH="0", failure=f"{number} {number} half")
        if len(deployed.calls()) < number:
            break
        call = " ".join(deployed.calls()[number - 1][:4])
        if code == 0:  # gcloud failed, and what it should do is done
            assert "update-traffic" in call or "run deploy" in call or "print-identity-token" in call, said
            continue
        failed.setdefault(call, said)
        assert "Traceback" not in said
        assert "it failed half of the way" in said, said
        now = deployed.snapshot()
        told = said.rpartition("FAILED")[2]
        assert now["traffic"] in ({"api-00002": 100}, {"api-00003": 100}), call
        (revision,) = now["traffic"]
        if now["files"] == before["files"] and revision == "api-00002":
            assert re.search("Nothing was changed|what they had before|Lookups go where|go to api-00002 again", told), (
                told
            )
        else:
            assert f"All lookups go to {revision}. Airflow has files of" in told
            assert "deploy again, or go back: make deploy-back" in told
    assert {call.split()[1] for call in failed} >= {"build", "push", "run", "composer", "storage", "artifacts"}
    complete = not_recorded(deployed.snapshot())
    deployed.save("service", saved["service"])
    deployed.run(APPLY="1", WATCH="0", failure=f"{number - 3} {number - 3} half")
    deployed.deploy()
    assert not_recorded(deployed.snapshot())["files"] == complete["files"]


def test_a_revision_that_is_not_ready_gets_no_traffic(deployed):
    change(deployed, "serving_api/app.py")
    before = deployed.snapshot()
    deployed.change("settings", ready=False)
    code, said = deployed.run(APPLY="1")
    assert code == 1
    assert "the startup probe failed" in said
    assert deployed.snapshot() == before
    deployed.change("settings", ready=True)
    deployed.deploy()
    assert deployed.load("service")["traffic"] == {"api-00004": 100}


def test_a_revision_that_terraform_made_since_gets_the_traffic(deployed):
    service = deployed.load("service")
    service["revisions"]["api-00003"] = service["revisions"]["api-00002"]
    deployed.save("service", service)
    deployed.deploy()
    assert deployed.load("service")["traffic"] == {"api-00004": 100}


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_while_traffic_moves_takes_it_back(deployed, number):
    change(deployed, "serving_api/app.py")
    before = deployed.snapshot()
    (deployed.state / "bin" / "sleep").unlink()
    process = deployed.start(APPLY="1", WATCH="3600")
    wait_for(lambda: deployed.load("service")["traffic"] != before["traffic"])
    process.send_signal(number)
    said, _ = process.communicate(timeout=60)
    assert process.returncode == 1
    assert "interrupted" in said
    assert "All lookups go to api-00002 again" in said
    assert deployed.snapshot() == before


def test_a_deployment_after_a_killed_one_knows_the_files_of_both(deployed):
    new = deployed.tree / "dags" / "shared" / "more.sql"
    new.write_text("SELECT 1")
    commit(deployed.tree)
    calls = len(deployed.calls())
    process = deployed.start(APPLY="1", failure=f"{calls - 1} 99 hangs")
    wait_for((deployed.bucket / "dags" / "shared" / "more.sql").exists)
    process.kill()
    process.stdout.close()
    process.wait()
    new.write_text("SELECT 2")
    commit(deployed.tree)
    deployed.deploy()
    assert deployed.files()["dags/shared/more.sql"] == b"SELECT 2"


def test_a_tree_that_differs_from_its_commit_is_planned_but_not_deployed(project):
    (project.tree / "serving_api" / "new.py").write_text("")
    before = project.snapshot()
    assert project.run()[0] == 0
    code, said = project.run(APPLY="1")
    assert (code, project.snapshot()) == (1, before)
    assert "files differ from the commit: ?? serving_api/new.py. Commit them\nNothing was changed." in said


def test_a_file_of_others_is_not_overwritten(project):
    file = project.bucket / "dags" / "decisions.py"
    file.write_text("somebody's")
    code, said = project.run(APPLY="1")
    assert code == 1
    assert "has files that no deployment of Foreserve brought, and would lose them: dags/decisions.py" in said
    assert file.read_text() == "somebody's"


def test_many_files_of_others_are_not_overwritten(deployed):
    (deployed.bucket / RECORD).unlink()
    code, said = deployed.run(APPLY="1")
    assert code == 1
    (others,) = re.findall("no deployment of Foreserve brought, and would lose them: (.+). Move them elsewhere", said)
    assert len(others.split()) == 5


def test_a_broken_record_is_not_taken_for_none(deployed):
    (deployed.bucket / RECORD).write_text("{")
    code, said = deployed.run(APPLY="1")
    assert code == 1
    assert "deployment.txt is no record of a deployment; restore it" in said


def test_an_environment_whose_packages_do_not_suit_is_refused(project):
    installed = {name: version for name, version in INSTALLED.items() if name != "apache-beam"}
    project.save("composer", {"installed": installed | {"apache-airflow-providers-google": "18.1.0"}})
    code, said = project.run(APPLY="1")
    assert code == 1
    assert "apache-airflow-providers-google 18.1.0, not >=20; apache-beam is missing, not >=2.66" in said
    assert "image_version" in said


def test_an_airflow_elsewhere_gets_its_files_in_a_folder_of_a_bucket(project):
    airflow = {"environment": "", "bucket": "gs://europe-west1-b/airflow", "python_version": "3.12"}
    project.change("outputs", **airflow, beam_version="2.70.0")
    project.deploy()
    project.deploy()
    assert "airflow/dags/decisions.py" in project.files()
    assert tags(project)["beam-jobs"][0].endswith("-python-3.12-beam-2.70.0")
    assert not [call for call in project.calls() if "composer" in call]


def test_an_environment_that_terraform_has_not_made_is_named(project):
    (project.tree / "infra" / "environments" / "test").rename(project.tree / "infra" / "environments" / "other")
    code, said = project.run()
    assert code == 1
    assert "infra/environments/test does not exist: copy infra/examples/minimal there, and apply it" in said


@pytest.fixture
def usual_tools(tmp_path):
    """A PATH without Google Cloud CLI, Docker and Terraform."""
    (tmp_path / "usual").mkdir()
    tools = "awk bash cat comm cp curl cut dirname env find git grep head mkdir paste rm sed sort tar touch tr"
    for tool in tools.split():
        (tmp_path / "usual" / tool).symlink_to(shutil.which(tool))
    return str(tmp_path / "usual")


def test_the_example_is_planned_without_the_tools(project, usual_tools):
    shutil.rmtree(project.state / "bin")
    code, said = project.run(name="example", path=usual_tools)
    assert code == 0, said
    assert "$ docker build" in said
    assert ".state/deployment/tree" in said
    assert "--to-revisions=NEW=10,CURRENT=90" in said
    assert "Nothing was changed." in said
    assert project.run(APPLY="1", name="example", path=usual_tools) == (0, said)
    code, said = project.run("back", name="example", path=usual_tools)
    assert code == 0, said
    assert "--to-revisions=REVISION_BEFORE=100" in said


def test_the_plan_of_the_example_can_be_pasted_into_a_shell(project):
    plan = shown(project.run(name="example")[1])
    assert len(plan) > 12
    for command in plan:
        words = shlex.split(command)
        assert words[0] in {"export", "gcloud", "docker"}
        checked = subprocess.run(["/usr/bin/env", "bash", "-nc", command], capture_output=True, text=True, check=False)
        assert (checked.returncode, checked.stderr) == (0, ""), command


def test_a_file_of_outputs_replaces_terraform(project):
    (project.state / "bin" / "terraform").unlink()
    file = project.state / "outputs"
    file.write_text("\n".join(f"{name}={value}" for name, value in project.load("outputs").items()))
    project.deploy(OUTPUTS=str(file))
    code, said = project.run(OUTPUTS=str(project.state / "none"))
    assert code == 1
    assert "none: No such file or directory" in said
    assert "Nothing was changed." in said


@pytest.mark.parametrize(
    ("content", "missing"), [("Error: no outputs", "project"), ("project=p\nregion=r\nPATH=/tmp\n", "images")]
)
def test_outputs_that_are_not_terraforms_are_refused(project, content, missing):
    (project.state / "outputs").write_text(content)
    code, said = project.run(OUTPUTS=str(project.state / "outputs"))
    assert code == 1
    assert f"outputs lacks {missing}: apply infra/ of this commit" in said


@pytest.mark.parametrize("tool", ["terraform", "gcloud"])
def test_a_tool_that_is_missing_is_named(project, usual_tools, tool):
    (project.state / "bin" / tool).unlink()
    code, said = project.run(APPLY="1", path=usual_tools)
    assert code == 1
    assert f"{tool}: command not found" in said
    assert "Nothing was changed." in said
