"""The commands of docs/deploy.md that it marks as tested, run as they are written.

Terraform has the stand-in for Google's provider, and gcloud and Docker are stand-ins too.
"""

import os
import re
import shutil
import subprocess

import pytest

from tests.deployment.conftest import ROOT, commit
from tests.infra.evaluation import copy_configuration

DOCUMENT = (ROOT / "docs/deploy.md").read_text()
STAND_IN = [ROOT / ".venvs/stand_in/bin/python", ROOT / "tests/infra/terraform/stand_in.py"]


def marked_blocks():
    """Return the blocks after the word *tested*, as lists of commands."""
    blocks = re.findall(r"\*[Tt]ested\*[^`]*```sh\n(.+?)```", DOCUMENT, re.DOTALL)
    return [
        [line.split("  #")[0].strip() for line in re.sub(r"\\\n", " ", block).splitlines() if line.strip()]
        for block in blocks
    ]


def test_blocks_of_terraform_and_of_both_ways_of_deploying_are_marked():
    ends = [block[-1].split()[1] for block in marked_blocks()]
    assert ends == ["-chdir=infra/environments/test", "deploy", "deploy-back"]


def test_every_target_of_make_in_the_document_exists():
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert set(re.findall(r"\bmake ([a-z-]+)", DOCUMENT)) <= targets


def run(command, tree, **environment):
    ended = subprocess.run(
        ["/bin/sh", "-ec", command],
        cwd=tree,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert ended.returncode == 0, f"{command}\n{ended.stdout[-3000:]}{ended.stderr[-3000:]}"
    return ended.stdout


def installed(tree):
    """Make the environment of deployments look installed, so that make neither rebuilds it nor anything of ours."""
    environment = tree / ".venvs" / "local_stack"
    environment.mkdir(parents=True)
    for path in (ROOT / ".venvs" / "local_stack").iterdir():
        if path.name != ".installed":
            (environment / path.name).symlink_to(path)
    (tree / ".venvs" / "uv" / "bin").mkdir(parents=True)
    (tree / ".venvs" / "uv" / "bin" / "uv").touch()
    (tree / "local_stack").mkdir()
    (tree / "local_stack" / "requirements.txt").touch()
    (environment / ".installed").touch()


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("terraform") is None, reason="Terraform is not installed")
@pytest.mark.skipif(not STAND_IN[0].exists(), reason="the stand-in provider is not installed: make test-infra")
def test_the_marked_commands_deploy_and_go_back(project, tmp_path):
    tree = project.tree
    shutil.rmtree(tree / "infra")
    shutil.copytree(copy_configuration(tmp_path / "configuration"), tree / "infra")
    for name in ("monitoring", "requirements.txt"):
        source = tmp_path / "configuration" / name
        shutil.copytree(source, tree / name) if source.is_dir() else shutil.copy(source, tree)
    shutil.copy(ROOT / "Makefile", tree)
    installed(tree)
    commit(tree)
    (project.state / "bin" / "terraform").unlink()
    project.change("settings", bucket="europe-west1-foreserve-bucket")
    (terraform, deploy, back) = marked_blocks()
    with subprocess.Popen(STAND_IN, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as provider:
        variables = {
            **project.http.environment(),
            "TF_REATTACH_PROVIDERS": provider.stdout.readline().strip(),
            "TF_CLI_CONFIG_FILE": os.devnull,
            "TF_CLI_ARGS_apply": "-auto-approve",
            "CHECKPOINT_DISABLE": "1",
            "FAKE_CLOUD": str(project.state),
            "PATH": f"{project.state / 'bin'}{os.pathsep}{os.environ['PATH']}",
        }
        (project.state / "failure.txt").write_text("0 0 before")
        for command in terraform:
            run(command, tree, **variables)
        project.save("service", project.load("service") | {"revisions": {"foreserve-api-00001": "hello"}})
        project.change("service", traffic={"foreserve-api-00001": 100})
        commit(tree)
        plan, apply = (run(command, tree, **variables, WATCH="0", MAKEFLAGS="") for command in deploy)
        assert "Nothing was changed." in plan
        assert "Deployed." in apply
        with (tree / "serving_api" / "app.py").open("a") as file:
            file.write("\n# a change\n")
        commit(tree)
        run(deploy[-1], tree, **variables, WATCH="0")
        assert project.load("service")["traffic"] == {"foreserve-api-00003": 100}
        for command in back:
            run(command, tree, **variables)
        assert project.load("service")["traffic"] == {"foreserve-api-00002": 100}
        provider.stdin.close()
