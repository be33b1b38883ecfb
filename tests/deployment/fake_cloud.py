"""A stand-in for gcloud, docker and terraform, with the commands that a deployment needs.

It runs under each of these names, knows the flags of the real programs, keeps its state in a folder of files, and fails
when a test wants it to.
"""

import base64
import fnmatch
import hashlib
import json
import os
import re
import shutil
import sys
import time
from pathlib import Path

STATE = Path(os.environ["FAKE_CLOUD"])
BUCKET = STATE / "bucket"

# The flags that `--help` of Google Cloud CLI 528 lists.
FLAGS = {
    "artifacts docker images list": {"--include-tags"},
    "composer environments describe": {"--location"},
    "composer environments list-packages": {"--location"},
    "composer environments update": {
        "--location",
        "--update-env-variables",
        "--remove-env-variables",
        "--update-pypi-package",
        "--remove-pypi-packages",
    },
    "run deploy": {"--image", "--no-traffic", "--region"},
    "run services describe": {"--region"},
    "run services update-traffic": {"--region", "--to-revisions"},
    "storage cat": set(),
    "storage objects list": {"--raw"},
    "storage rm": set(),
    "storage rsync": {"--recursive", "--checksums-only"},
}
EVERYWHERE = {"--project", "--format", "--quiet", "--flags-file"}


def load(name):
    return json.loads((STATE / f"{name}.json").read_text())


def save(name, content):
    (STATE / f"{name}.json").write_text(json.dumps(content, indent=2))


def fail(message):
    sys.exit(f"ERROR: {message}")


class Call:
    """A command line of gcloud: the words, and the flags with all their values."""

    def __init__(self, arguments):
        words = [argument for argument in arguments if not argument.startswith("--")]
        self.command = next((name for name in FLAGS if words[: len(name.split())] == name.split()), None) or fail(
            f"no such command: {words}"
        )
        self.words = words[len(self.command.split()) :]
        self.flags = {}
        for argument in arguments:
            if argument.startswith("--"):
                name, _, value = argument.partition("=")
                self.flags.setdefault(name, []).append(value)
        for file in self.flags.pop("--flags-file", []):
            if Path(file).stat().st_mode & 0o077:
                fail(f"{file} can be read by others")
            self.flags.update({name: [value] for name, value in json.loads(Path(file).read_text()).items()})
        if unknown := self.flags.keys() - FLAGS[self.command] - EVERYWHERE:
            fail(f"unrecognized arguments: {unknown}")

    def flag(self, name):
        return self.flags.get(name, [None])[-1]


def objects(pattern):
    prefix = f"gs://{load('settings')['bucket']}/"
    files = [path.relative_to(BUCKET).as_posix() for path in BUCKET.rglob("*") if path.is_file()]
    return [name for name in sorted(files) if fnmatch.fnmatch(name, pattern.removeprefix(prefix).replace("**", "*"))]


def local(url):
    prefix = f"gs://{load('settings')['bucket']}/"
    return BUCKET / url.removeprefix(prefix) if url.startswith(prefix) else Path(url)


def gcloud(arguments, *, half):
    call = Call(arguments)
    return COMMANDS[call.command](call, half) or ""


def list_images(call, _):
    return json.dumps(
        [
            {"package": package, "version": digest, "tags": [tag]}
            for package, tags in load("registry").items()
            for tag, digest in tags.items()
            if package.startswith(call.words[0])
        ]
    )


def describe_composer(*_):
    environment = load("composer")
    software = {"imageVersion": environment["image"]}
    software |= {"envVariables": environment["variables"]} if environment["variables"] else {}
    software |= {"pypiPackages": environment["packages"]} if environment["packages"] else {}
    config = {"dagGcsPrefix": f"gs://{load('settings')['bucket']}/dags", "softwareConfig": software}
    return json.dumps({"state": environment["state"], "config": config})


def list_packages(*_):
    rows = [f"{name:<40} {version}" for name, version in load("composer")["installed"].items()]
    return "\n".join([f"{'Package':<40} Version", f"{'-' * 40} -------", *rows])


def list_objects(call, _):
    return json.dumps(
        [{"name": name, "md5Hash": md5((BUCKET / name).read_bytes())} for url in call.words for name in objects(url)]
    )


def md5(content):
    return base64.b64encode(hashlib.md5(content, usedforsecurity=False).digest()).decode()


def remove(call, half):
    for url in call.words[: len(call.words) // 2 if half else None]:
        local(url).unlink()


def sync(call, half):
    source, target = map(local, call.words)
    files = sorted(path for path in source.rglob("*") if path.is_file())
    for path in files[: len(files) // 2 if half else None]:
        copy = target / path.relative_to(source)
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, copy)


def update_composer(call, _):
    environment = load("composer")
    variables, packages = environment["variables"], environment["packages"]
    updates = {name.split("-")[3] for name in call.flags if name.startswith(("--update", "--remove"))}
    if len(updates) != 1:
        fail("an update changes exactly one thing")
    variables |= call.flag("--update-env-variables") or {}
    for name in call.flag("--remove-env-variables") or []:
        del variables[name]
    for requirement in call.flags.get("--update-pypi-package", []):
        name, specifier = re.fullmatch(r"([a-z0-9-]+)(.*)", requirement).groups()
        packages[name] = specifier
        environment["installed"][name] = specifier.lstrip("=<>~")
    for name in (call.flag("--remove-pypi-packages") or "").split(","):
        if name:
            del packages[name]
            del environment["installed"][name]
    save("composer", environment)


def deploy_revision(call, _):
    service = load("service")
    revision = f"{call.words[0]}-{len(service['revisions']) + 1:05}"
    service["revisions"][revision] = call.flag("--image")
    if "--no-traffic" not in call.flags:
        service["traffic"] = {revision: 100}
    save("service", service)
    if not load("settings")["ready"]:
        fail(f"Revision {revision} is not ready: the startup probe failed 240 times in a row")


def describe_service(*_):
    service = load("service")
    newest = list(service["revisions"])[-1]
    traffic = [{"revisionName": name, "percent": percent} for name, percent in service["traffic"].items()]
    containers = [{"image": "a-collector"}, {"image": service["revisions"][newest], "ports": [{"containerPort": 8080}]}]
    status = {"latestCreatedRevisionName": newest, "traffic": traffic}
    return json.dumps({"spec": {"template": {"spec": {"containers": containers}}}, "status": status})


def update_traffic(call, _):
    service = load("service")
    split = call.flag("--to-revisions").split(",")
    service["traffic"] = {name: int(share) for name, share in (part.split("=") for part in split)}
    save("service", service)


COMMANDS = {
    "artifacts docker images list": list_images,
    "composer environments describe": describe_composer,
    "composer environments list-packages": list_packages,
    "composer environments update": update_composer,
    "run deploy": deploy_revision,
    "run services describe": describe_service,
    "run services update-traffic": update_traffic,
    "storage cat": lambda call, _: local(call.words[0]).read_text(),
    "storage objects list": list_objects,
    "storage rm": remove,
    "storage rsync": sync,
}


def docker(arguments, *, half):
    if arguments[0] == "build":
        flags = dict(flag.removeprefix("--").split("=", 1) for flag in arguments[1:-1])
        if not Path(flags["file"]).is_file() or flags["platform"] != "linux/amd64":
            fail("cannot be built like that")
        (STATE / "built.txt").write_text(flags["tag"])
        return ""
    name, _, tag = arguments[1].rpartition(":")
    if (STATE / "built.txt").read_text() != arguments[1]:
        fail("no such image")
    if not half:
        registry = load("registry")
        digest = hashlib.sha256(arguments[1].encode()).hexdigest()
        registry.setdefault(name, {})[tag] = f"sha256:{digest}"
        save("registry", registry)
    return ""


def terraform(arguments, *, half):
    del half
    if arguments[1:] != ["output", "-json", "deployment"]:
        fail(f"unexpected: {arguments}")
    return (STATE / "outputs.json").read_text()


def main():
    program, arguments = Path(sys.argv[0]).name, sys.argv[1:]
    calls = STATE / "calls.jsonl"
    with calls.open("a") as file:
        file.write(json.dumps([program, *arguments]) + "\n")
    number = len(calls.read_text().splitlines())
    first, last, how = (STATE / "failure.txt").read_text().split()
    fails = int(first) <= number <= int(last)
    if fails and how == "hangs":
        time.sleep(60)
    if fails and how == "before":
        fail("it failed before it did anything")
    run = {"gcloud": gcloud, "docker": docker, "terraform": terraform}[program]
    sys.stdout.write(run(arguments, half=fails and how == "half"))
    if fails:
        fail(f"it failed {how} of the way" if how == "half" else "it failed when all was done")


if __name__ == "__main__":
    main()
