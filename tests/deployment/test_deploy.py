"""Whole deployments by the command, against stand-ins for gcloud, docker and terraform."""

import itertools
import json
import re
import shutil
import signal
import tempfile

import pytest

from tests.deployment.conftest import INSTALLED, PASSWORD, commit, git
from tests.waiting import wait_for

SQL = "dags/pipelines/repeat_purchase/predict.sql"
REVISION = ("api-00002", 100)


@pytest.fixture
def deployed(project):
    """A cloud after a first deployment."""
    project.deploy()
    return project


def changing(calls):
    """Return the calls that change something."""
    verbs = ("build", "push", "deploy", "update", "update-traffic", "rsync", "rm")
    return [call for call in calls if any(verb in call for verb in verbs) and not is_download(call)]


def is_download(call):
    return "rsync" in call and next(word for word in call if "/" in word).startswith("gs://")


def test_a_first_deployment(project):
    before = project.snapshot()
    said = project.deploy()
    files = project.files()
    assert before["files"].items() <= files.items()
    assert (
        files["dags/pipelines/repeat_purchase/dag.py"]
        == (project.tree / "dags/pipelines/repeat_purchase/dag.py").read_bytes()
    )
    assert files["dags/foreserve/cloud.py"] == files["plugins/foreserve/cloud.py"]
    for package in ("beam_jobs", "prediction_store", "refresh_factory", "foreserve"):
        assert f"dags/{package}/__init__.py" in files
        assert f"dags/{package}/.airflowignore" in files
    assert not [path for path in files if "Dockerfile" in path or "__pycache__" in path]

    composer, service, registry = project.load("composer"), project.load("service"), project.load("registry")
    outputs = project.load("outputs")
    assert composer["variables"] == {"TEAM": "forecasting"} | outputs["environment_variables"]
    assert composer["packages"] == {"somebodys": ">=1", "hdrhistogram": ">=0.10", "pydantic-settings": ">=2.6"}
    assert service["traffic"] == dict([REVISION])
    images = {
        package.rpartition("/")[2]: f"{package}@{digest}"
        for package, tags in registry.items()
        for digest in tags.values()
    }
    assert service["revisions"]["api-00002"] == images["serving-api"]
    variable = "FORESERVE_DATAFLOW_SDK_CONTAINER_IMAGE"
    assert files["dags/refresh_factory/deployed.env"].decode() == f"{variable}={images['beam-jobs']}\n"
    assert "Deployed." in said


def tags(project):
    return {package.rpartition("/")[2]: list(tags) for package, tags in project.load("registry").items()}


def test_images_are_tagged_by_content_and_the_workers_have_the_beam_of_the_environment(deployed):
    assert re.fullmatch(r"[0-9a-f]{12}", tags(deployed)["serving-api"][0])
    assert re.fullmatch(r"[0-9a-f]{12}-beam-2\.73\.0", tags(deployed)["beam-jobs"][0])
    (build, *_) = [call for call in deployed.calls() if "build" in call]
    head = git(deployed.tree, "rev-parse", "--short=12", "HEAD").strip()
    assert f"--build-arg=BUILD={head}" in build


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
    """Terraform would report a name, which is part of the template, as a change."""
    (deploy,) = [call for call in deployed.calls() if "deploy" in call]
    assert not [word for word in deploy if word.startswith(("--tag", "--revision-suffix"))]


def test_modules_are_uploaded_first_and_dag_files_last(deployed):
    uploads = [call for call in deployed.calls() if "rsync" in call]
    folders = [call[-2].partition("/")[2].rpartition("-b/")[2] for call in uploads]
    # The record, modules, SQL and YAML, DAG files, the record
    assert folders == ["data/foreserve", "dags", "plugins", "dags", "dags", "data/foreserve"]


def test_a_second_deployment_changes_nothing(deployed):
    before = deployed.snapshot()
    said = deployed.deploy()
    assert "up to date" in said
    assert changing(deployed.calls()) == []
    assert deployed.snapshot() == before


def test_only_a_changed_pipeline_is_uploaded(deployed):
    (deployed.tree / SQL).write_text("SELECT 1")
    commit(deployed.tree)
    before = deployed.files()
    deployed.deploy()
    files = deployed.files()
    assert {path for path in files if files[path] != before.get(path)} == {SQL, "data/foreserve/deployment.json"}
    assert files[SQL] == b"SELECT 1"
    assert not [call for call in deployed.calls() if "update" in call or "build" in call or "deploy" in call]


def test_a_change_of_the_beam_jobs_only_builds_their_image(deployed):
    with (deployed.tree / "beam_jobs" / "mutations.py").open("a") as file:
        file.write("\n# a change\n")
    commit(deployed.tree)
    traffic = deployed.load("service")["traffic"]
    before = deployed.files()["dags/refresh_factory/deployed.env"]
    deployed.deploy()
    assert [call[0:2] for call in deployed.calls() if call[0] == "docker"] == [["docker", "build"], ["docker", "push"]]
    assert deployed.load("service")["traffic"] == traffic
    assert deployed.files()["dags/refresh_factory/deployed.env"] != before
    assert not [call for call in deployed.calls() if "update" in call]


def test_only_files_of_an_earlier_deployment_are_removed(deployed):
    for path in ("dags/pipelines/customer_segment", "plugins/foreserve/links.py"):
        git(deployed.tree, "rm", "-qr", path)
    commit(deployed.tree)
    before = deployed.files()
    deployed.deploy()
    gone = before.keys() - deployed.files().keys()
    assert gone == {path for path in before if "customer_segment" in path or path.endswith("foreserve/links.py")}


def test_only_changed_variables_are_set_and_those_that_terraform_dropped_are_removed(deployed):
    outputs = deployed.load("outputs")
    outputs["environment_variables"]["FORESERVE_LOCATION"] = "US, or so"
    del outputs["environment_variables"]["AIRFLOW_CONN_MAIL"]
    deployed.save("outputs", outputs)
    said = deployed.deploy()
    (update,) = [call for call in deployed.calls() if "update" in call]
    assert not [word for word in update if "US" in word]
    variables = deployed.load("composer")["variables"]
    assert variables == {"TEAM": "forecasting"} | outputs["environment_variables"]
    assert "change FORESERVE_LOCATION" in said
    assert "remove AIRFLOW_CONN_MAIL" in said


def shown(said):
    """Return the commands in an output, with the plan's placeholders for values that a deployment determines."""
    commands = re.findall(r"^ +\$ (.+)$", said, re.MULTILINE)
    for value, placeholder in {
        r"'": "",
        rf"{re.escape(tempfile.gettempdir())}/[^/\s]+/": "<temporary folder>/",
        r"sha256:\w{64}": "<digest of the pushed image>",
        r"api-\d{5}=": "<new revision>=",
    }.items():
        commands = [re.sub(value, placeholder, command) for command in commands]
    return commands


def test_without_apply_nothing_is_changed_and_every_command_is_shown(project):
    before = project.snapshot()
    code, plan = project.run()
    assert code == 0
    assert changing(project.calls()) == []
    assert project.snapshot() == before
    assert shown(plan) == shown(project.deploy())


@pytest.mark.parametrize("arguments", [(), ("--apply",)])
def test_secrets_are_never_shown(project, arguments):
    outputs = project.load("outputs")
    for failure in ("0 0 before", "8 8 after"):
        _, said = project.run(*arguments, failure=failure)
        assert PASSWORD not in said
        assert outputs["environment_variables"]["AIRFLOW_CONN_PREDICTION_API"] not in said
    assert not [call for call in project.calls() if PASSWORD in json.dumps(call)]


@pytest.mark.parametrize(("how", "every"), [("half", 1), ("before", 3)])
def test_any_failure_restores_the_state_before(deployed, how, every):
    """An upgrade that changes everything, in which each call fails half-way, or every third one before it begins.

    A call that cannot be done by half, such as an update of the environment, is done whole and then fails.
    """
    for path in ("serving_api/app.py", "beam_jobs/mutations.py", "plugins/foreserve/quality_gate.py", SQL):
        with (deployed.tree / path).open("a") as file:
            file.write("\n# a change\n" if path.endswith(".py") else "\n-- a change\n")
    git(deployed.tree, "rm", "-qr", "dags/pipelines/customer_segment")
    (deployed.tree / "dags/shared/more.sql").write_text("SELECT 2")
    commit(deployed.tree)
    outputs = deployed.load("outputs")
    outputs["environment_variables"] |= {"FORESERVE_LOCATION": "US", "FORESERVE_RETRIES": "3"}
    del outputs["environment_variables"]["AIRFLOW_CONN_MAIL"]
    deployed.save("outputs", outputs)
    composer = deployed.load("composer")
    composer["packages"]["hdrhistogram"], composer["installed"]["hdrhistogram"] = "==0.9", "0.9"
    deployed.save("composer", composer)
    before, registry = deployed.snapshot(), deployed.load("registry")
    failed = []
    for number in itertools.count(1, every):
        deployed.save("registry", registry)
        code, said = deployed.run("--apply", failure=f"{number} {number} {how}")
        if code == 0:
            break
        failed.append(" ".join(deployed.calls()[number - 1][:4]))
        assert "Traceback" not in said
        assert "NOT AS BEFORE" not in said
        assert deployed.snapshot() == before, f"{failed[-1]}\n{said}"
    if every == 1:
        assert {call.split()[1] for call in failed} >= {
            "build",
            "push",
            "run",
            "composer",
            "storage",
            "artifacts",
        }
    assert deployed.snapshot() != before


def test_a_first_deployment_that_fails_leaves_nothing(project):
    before = project.snapshot()
    for number in range(8, 99, 3):
        code, said = project.run("--apply", failure=f"{number} {number} half")
        if code == 0:
            break
        assert project.snapshot() == before, said
    assert len(project.calls()) < number


def test_a_step_that_cannot_be_undone_is_reported(deployed):
    (deployed.tree / SQL).write_text("SELECT 1")
    commit(deployed.tree)
    code, said = deployed.run("--apply", failure="8 999 after")
    assert code == 1
    assert "NOT AS BEFORE: Replace the DAGs" in said


def test_a_revision_that_is_not_ready_gets_no_traffic(deployed):
    with (deployed.tree / "serving_api" / "app.py").open("a") as file:
        file.write("\n# a change\n")
    commit(deployed.tree)
    before = deployed.snapshot()
    deployed.change("settings", ready=False)
    code, said = deployed.run("--apply")
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
def test_an_interrupt_restores_the_state_before(deployed, number):
    (deployed.tree / SQL).write_text("SELECT 1")
    commit(deployed.tree)
    before = deployed.snapshot()
    process = deployed.start("--apply", failure="9 9 hangs")
    wait_for(lambda: len(deployed.calls()) == 9 or process.poll() is not None)
    assert process.poll() is None
    process.send_signal(number)
    said, _ = process.communicate(timeout=60)
    assert process.returncode == 1
    assert "interrupted" in said
    assert deployed.snapshot() == before


def test_a_deployment_after_a_killed_one_knows_the_files_of_both(deployed):
    new = deployed.tree / "dags" / "shared" / "more.sql"
    new.write_text("SELECT 1")
    commit(deployed.tree)
    process = deployed.start("--apply", failure="11 11 hangs")
    wait_for((deployed.bucket / "dags" / "shared" / "more.sql").exists)
    process.kill()
    process.stdout.close()
    process.wait()
    new.write_text("SELECT 2")
    commit(deployed.tree)
    deployed.deploy()
    assert deployed.files()["dags/shared/more.sql"] == b"SELECT 2"


def test_a_tree_that_differs_from_its_commit_needs_dirty(project):
    (project.tree / "serving_api" / "new.py").write_text("")
    before = project.snapshot()
    code, said = project.run("--apply")
    assert (code, project.snapshot()) == (1, before)
    assert "1 files differ from commit" in said
    assert "serving_api/new.py" in said
    project.deploy("--dirty")
    words = [word for call in project.calls() for word in call]
    assert [word for word in words if re.fullmatch(r"--build-arg=BUILD=[0-9a-f]{12}-dirty", word)]
    assert "up to date" in project.deploy("--dirty")


def test_a_file_of_others_is_not_overwritten(project):
    file = project.bucket / "dags" / "roll_back.py"
    file.write_text("somebody's")
    code, said = project.run("--apply")
    assert code == 1
    assert "would be overwritten: dags/roll_back.py. Move them elsewhere" in said
    assert file.read_text() == "somebody's"


def test_an_image_with_too_old_a_package_is_refused(project):
    composer = project.load("composer")
    composer["installed"]["apache-airflow-providers-google"] = "18.1.0"
    project.save("composer", composer)
    code, said = project.run()
    assert code == 1
    assert "composer-3-airflow-3.1.8-build.2 comes with apache-airflow-providers-google 18.1.0; tasks need >=20" in said
    assert "image_version" in said


def test_an_environment_without_beam_is_refused(project):
    composer = project.load("composer")
    composer["installed"] = {name: version for name, version in INSTALLED.items() if name != "apache-beam"}
    project.save("composer", composer)
    code, said = project.run()
    assert code == 1
    assert "has no apache-beam" in said


def test_an_environment_that_is_being_updated_is_refused(project):
    project.change("composer", state="UPDATING")
    code, said = project.run("--apply")
    assert code == 1
    assert "foreserve is UPDATING; deploy when it is RUNNING" in said


def test_a_variable_that_would_override_the_image_is_refused(project):
    composer = project.load("composer")
    composer["variables"]["FORESERVE_DATAFLOW_SDK_CONTAINER_IMAGE"] = "an-image"
    project.save("composer", composer)
    code, said = project.run()
    assert code == 1
    assert "--remove-env-variables=FORESERVE_DATAFLOW_SDK_CONTAINER_IMAGE" in said


def test_an_environment_that_terraform_has_not_made_is_named(project):
    (project.tree / "infra" / "environments" / "test").rename(project.tree / "infra" / "environments" / "other")
    code, said = project.run()
    assert code == 1
    assert "infra/environments/test does not exist; existing environments: other" in said


@pytest.fixture
def only_git(tmp_path):
    """A PATH that has nothing but git."""
    (tmp_path / "git").mkdir()
    (tmp_path / "git" / "git").symlink_to(shutil.which("git"))
    return str(tmp_path / "git")


def test_the_example_is_planned_without_the_tools(project, only_git):
    shutil.rmtree(project.state / "bin")
    code, said = project.run(name="example", path=only_git)
    assert code == 0, said
    assert "$ docker build" in said
    assert "'--build-arg=BEAM_VERSION=<beam version of the environment>'" in said
    assert tempfile.gettempdir() not in said
    assert "Google Cloud was not asked, and nothing was changed." in said
    code, said = project.run("--apply", name="example", path=only_git)
    assert (code, "nothing can be deployed without Google Cloud" in said) == (1, True)


def test_a_file_of_outputs_replaces_terraform(project):
    (project.state / "bin" / "terraform").unlink()
    project.deploy(f"--outputs={project.state / 'outputs.json'}")
    code, said = project.run(f"--outputs={project.state / 'none.json'}")
    assert code == 1
    assert "none.json: No such file or directory; give the file" in said


@pytest.mark.parametrize(
    ("tool", "problem"), [("terraform", "install Terraform, or"), ("gcloud", "install the Google")]
)
def test_a_tool_that_is_missing_is_named(project, only_git, tool, problem):
    (project.state / "bin" / tool).unlink()
    code, said = project.run("--apply", path=only_git)
    assert code == 1
    assert f"{tool} is not installed: {problem}" in said
