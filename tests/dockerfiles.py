"""Parse Dockerfiles."""

import re

from local_stack.servers import ROOT


def instructions(dockerfile, name):
    """Return the arguments of each instruction with this name."""
    joined = re.sub(r"\\\n\s*", "", (ROOT / dockerfile).read_text())
    return re.findall(rf"^{name} (.+)$", joined, re.MULTILINE)


def copied(dockerfile):
    """Return the files and folders of the repository that an image copies."""
    return [path for line in instructions(dockerfile, "COPY") if "--from" not in line for path in line.split()[:-1]]
