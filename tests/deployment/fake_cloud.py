"""A stand-in for gcloud, docker and terraform, with the commands that a deployment needs.

It runs under each of these names, knows the flags of the real programs, keeps its state in a folder of files, and fails
when a test wants it to.
"""

import fnmatch
import hashlib
import json
import os
import shutil
import sys
import time
from pathlib import Path

STATE = Path(os.environ["FAKE_CLOUD"])
BUCKET = STATE / "bucket"

# The flags that `--help` of Google Cloud CLI 528 lists.
FLAGS = {
    "artifacts docker images list": {"--include-tags", "--filter"},
    "auth print-access-token": set(),
    "auth print-identity-token": {"--audiences"},
    "composer environments list-packages": set(),
    "run deploy": {"--image", "--no-traffic"},
    "run services describe": {"--flatten"},
    "run services update-traffic": {"--to-revisions", "--update-tags"},
    "storage cat": set(),
    "storage cp": set(),
    "storage ls": set(),
    "storage rm": {"--read-paths-from-stdin"},
    "storage rsync": {"--recursive", "--checksums-only"},
}
EVERYWHERE = {"--format", "--quiet"}


def load(name):
    return json.loads((STATE / f"{name}.json").read_text())


def save(name, content):
    new = STATE / f"{name}.new"
    new.write_text(json.dumps(content, indent=2))
    new.replace(STATE / f"{name}.json")  # a test may read it at the same time


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
    wanted = call.flag("--filter").removeprefix("tags:")
    return "\n".join(tags[wanted] for tags in load("registry").values() if wanted in tags)


def list_packages(*_):
    rows = [f"{name:<40} {version}" for name, version in load("composer")["installed"].items()]
    return "\n".join([f"{'Package':<40} Version", f"{'-' * 40} -------", *rows])


def list_objects(call, _):
    bucket = f"gs://{load('settings')['bucket']}"
    return "\n".join(f"{bucket}/{name}" for name in objects(call.words[0])) or fail(
        "One or more URLs matched no objects."
    )


def read_object(call, _):
    file = local(call.words[0])
    return file.read_text() if file.exists() else fail(f"The following URLs matched no objects or files:\n{file}")


def remove(_, half):
    urls = sys.stdin.read().split()
    for url in urls[: len(urls) // 2 if half else None]:
        local(url).unlink()


def copy(call, half):
    source, target = map(local, call.words)
    target.parent.mkdir(parents=True, exist_ok=True)
    if not half:
        shutil.copyfile(source, target)


def sync(call, half):
    source, target = map(local, call.words)
    files = sorted(path for path in source.rglob("*") if path.is_file())
    for path in files[: len(files) // 2 if half else None]:
        copy = target / path.relative_to(source)
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, copy)


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
    ready = newest if load("settings")["ready"] else ""
    shares = [(share, name) for name, share in service["traffic"].items()]
    shares += [("", name) for name in service.get("tags", {}).values()]
    images = f"a-collector,{service['revisions'][newest]}"
    return "\n".join(f"{newest}|{ready}|{images}|{share}|{name}" for share, name in shares)


def update_traffic(call, _):
    service = load("service")
    if call.flag("--update-tags"):
        service["tags"] = dict([call.flag("--update-tags").split("=")])
    else:
        split = call.flag("--to-revisions").split(",")
        service["traffic"] = {name: int(share) for name, share in (part.split("=") for part in split)}
    save("service", service)


def identity_token(call, _):
    if call.flag("--audiences") and not load("settings")["service_account"]:
        fail("Invalid account type for `--audiences`. Requires valid service account.")
    return "eyJhbGciOiJub25lIn0.eyJleHAiOjQxMDI0NDQ4MDB9.LQ"


COMMANDS = {
    "artifacts docker images list": list_images,
    "auth print-access-token": lambda *_: "an-access-token",
    "auth print-identity-token": identity_token,
    "composer environments list-packages": list_packages,
    "run deploy": deploy_revision,
    "run services describe": describe_service,
    "run services update-traffic": update_traffic,
    "storage cp": copy,
    "storage cat": read_object,
    "storage ls": list_objects,
    "storage rm": remove,
    "storage rsync": sync,
}


def docker(arguments, *, half):
    if arguments[0] == "build":
        flags = dict(flag.removeprefix("--").split("=", 1) for flag in arguments[1:-1])
        folders = {"serving_api", "beam_jobs", "prediction_store"}
        if not Path(flags["file"]).is_file() or not folders <= {path.name for path in Path(arguments[-1]).iterdir()}:
            fail("has no Dockerfile or no context")
        if (flags["platform"], flags["provenance"]) != ("linux/amd64", "false"):
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
    if arguments[1:] != ["output", "-raw", "deployment"]:
        fail(f"unexpected: {arguments}")
    return "\n".join(f"{name}={value}" for name, value in load("outputs").items())


def main():
    program, arguments = Path(sys.argv[0]).name, sys.argv[1:]
    calls = STATE / "calls.jsonl"
    with calls.open("a") as file:
        file.write(json.dumps([program, *arguments]) + "\n")
    number = len(calls.read_text().splitlines())
    first, last, how = (STATE / "failure.txt").read_text().split()
    fails = int(first) <= number <= int(last) if first.isdigit() else first in arguments
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
