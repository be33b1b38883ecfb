"""The documents agree with the repository: links lead somewhere, commands and variables exist, lines fit."""

import ast
import re

import pytest

from refresh_factory.environment import Dataflow, Environment
from serving_api.settings import Settings
from tests.repository import ROOT, files

WIDTH = 120
SPAN = re.compile(r"(?<!`)(`+)(?!`)(.+?)(?<!`)\1(?!`)", re.DOTALL)
CODE = ("*.py", "*.yaml", "*.tf", "Dockerfile", "Makefile")


DOCUMENTS = sorted(files("*.md"))
every_document = pytest.mark.parametrize("document", DOCUMENTS, ids=lambda file: str(file.relative_to(ROOT)))


def lines(document):
    """Yield each line of a document, and True if it is code."""
    is_code = False
    for line in document.read_text().splitlines():
        fence = line.lstrip().startswith("```")
        yield line, is_code or fence
        is_code ^= fence


def prose(document):
    return "\n".join(line for line, is_code in lines(document) if not is_code)


def code(document):
    """The text of a document between fences and between back quotes."""
    shown = [line for line, is_code in lines(document) if is_code]
    return "\n".join([*shown, *(text for _, text in SPAN.findall(prose(document)))])


def anchors(document):
    """The anchors that GitHub makes of headings: in lower case, with hyphens, without punctuation."""
    found = []
    for title in re.findall(r"^#+ (.+)$", prose(document), re.MULTILINE):
        text = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", title)
        anchor = re.sub(r"[^\w\- ]", "", text.lower()).replace(" ", "-")
        again = found.count(anchor)
        found.append(f"{anchor}-{again}" if again else anchor)
    return found


def links(document):
    """The relative links of a document: the file or folder, and the anchor in it."""
    for link in re.findall(r"\]\(([^)\s]+)\)", SPAN.sub("", prose(document))):
        if not re.match(r"[a-z]+:", link):
            path, _, anchor = link.partition("#")
            yield (document.parent / path).resolve() if path else document, anchor


def variables(text):
    return set(re.findall(r"\b(?:FORESERVE|SERVING)_[A-Z0-9_]*[A-Z0-9]\b", text))


@every_document
def test_links_lead_somewhere(document):
    for target, anchor in links(document):
        assert target.exists(), target
        assert target.is_relative_to(ROOT), target
        if anchor:
            assert anchor in anchors(target), f"{target.relative_to(ROOT)} has no {anchor!r}: {anchors(target)}"


def test_every_document_is_found_from_the_readme():
    wanted = {document for document in DOCUMENTS if ROOT / "tests" not in document.parents}
    found, new = set(), {ROOT / "README.md"}
    while new:
        found |= new
        targets = {target for document in new for target, _ in links(document)}
        reached = {document for document in DOCUMENTS if document in targets or document.parent in targets}
        new = reached - found
    assert not wanted - found


@every_document
def test_commands_exist(document):
    targets = set(re.findall(r"^([a-z0-9-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    named = set(re.findall(r"(?:^|[\s;&|])make ((?!-)[a-z0-9-]+)", code(document), re.MULTILINE))
    assert named <= targets


@pytest.fixture(scope="module")
def known_variables():
    """The settings of the service and the DAGs, and all variables that are named in code."""
    settings = {
        f"{model.model_config['env_prefix']}{name}".upper()
        for model in (Settings, Environment, Dataflow)
        for name in model.model_fields
    }
    return settings | variables("\n".join(file.read_text() for file in files(*CODE)))


@every_document
def test_variables_exist(document, known_variables):
    assert variables(document.read_text()) <= known_variables


@every_document
def test_lines_fit(document):
    for line, is_code in lines(document):
        has_one_word = " " not in line.strip()
        assert is_code or has_one_word or line.startswith("|") or len(line) <= WIDTH, line


def messages():
    """The texts in the code of the registry, jobs, operators and DAGs, by file, with … for each value."""
    for folder in ("prediction_store", "beam_jobs", "plugins", "dags"):
        for file in (ROOT / folder).rglob("*.py"):
            for node in ast.walk(ast.parse(file.read_text())):
                if isinstance(node, ast.JoinedStr):
                    text = "".join(part.value if isinstance(part, ast.Constant) else "…" for part in node.values)
                    yield file, text
                elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                    yield file, node.value


def quoted_refusals():
    """The parts of messages that the runbook quotes in its table of refusals."""
    section = (ROOT / "docs" / "runbook.md").read_text().split("\n## Refusals\n")[1]
    cells = re.findall(r"^\| ([^|]+) \|", section, re.MULTILINE)
    return [quoted for cell in cells for quoted in re.findall(r"`([^`]+)`", cell)]


def test_refusals_that_the_runbook_quotes_exist():
    texts = [text for _, text in messages()]
    assert not [quoted for quoted in quoted_refusals() if not any(quoted in text for text in texts)]


def test_the_runbook_has_every_refusal_of_the_registry():
    modules = (ROOT / "prediction_store" / "lifecycle.py", ROOT / "prediction_store" / "registry.py")
    refusals = {text for file, text in messages() if file in modules and re.match("…: .{10}", text)}
    assert len(refusals) > 10
    assert not {text for text in refusals if not any(quoted in text for quoted in quoted_refusals())}
