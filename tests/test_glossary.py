"""Words that docs/glossary.md retires do not come back: in code, messages, configuration or documents."""

import re

import pytest

from tests.repository import ROOT, files

GLOSSARY = ROOT / "docs" / "glossary.md"
READ = (
    "*.py",
    "*.md",
    "*.yaml",
    "*.json",
    "*.toml",
    "*.tf",
    "*.sql",
    "*.js",
    "*.html",
    "*.css",
    "Dockerfile",
    "Makefile",
)
UNREAD = {
    GLOSSARY,
    ROOT / "CHANGELOG.md",  # tells what was renamed
    ROOT / "tests" / "test_glossary.py",
}

# Words that have another sense too are refused in these phrases only.
PHRASES = {
    "abandon": r"(?-i:[Aa]bandon)",  # Terraform's deletion policy is ABANDON
    "bound": r"(?:above|past|within) (?:a|the) bound|bounds? (?:of|on) (?:the|what)",
    "give up": r"give up a version|(?:refresh|run|version) (?:is|was) given up|confirmed or given up",
    "hold": r"(?:run's|its|the) hold",
    "new model": r"the new model",
    "prediction API": r"prediction[ -]API",  # prediction_api is the id of Airflow's connection
    "turn": r"(?:run's|whose|take|takes its|holds its|gives the) turns?|turn ends",
}
SERVICE_SETTINGS = [ROOT / "serving_api" / "settings.py", ROOT / "tests" / "serving_api" / "test_settings.py"]
OTHERS = {
    "lane": SERVICE_SETTINGS,  # the old name of a setting is refused
    "new model": [ROOT / "local_bigquery"],  # which knows no candidate
}


def retired():
    """The words in the last column of the glossary's tables."""
    cells = re.findall(r"^\|.+\|.+\|([^|]*)\|$", GLOSSARY.read_text(), re.MULTILINE)
    words = [word.strip() for cell in cells for word in cell.split(",")]
    return [word for word in words if re.search("[a-z]", word) and word != "retired words"]


def pattern(word):
    """A word as prose and as identifiers have it, with an ending."""
    phrase = PHRASES.get(word, re.escape(word).replace(r"\ ", r"[\s_-]+"))
    return re.compile(rf"(?<![a-z])(?:{phrase})(?:s|ed|ing)?(?![a-z])", re.IGNORECASE)


@pytest.fixture(scope="module")
def texts():
    return {file: file.read_text() for file in files(*READ) if file not in UNREAD}


@pytest.mark.parametrize("word", retired())
def test_a_retired_word_does_not_come_back(word, texts):
    found = [
        f"{file.relative_to(ROOT)}:{len(text[: match.end()].splitlines())}: {match[0]}"
        for file, text in texts.items()
        if not any(file.is_relative_to(folder) for folder in OTHERS.get(word, ()))
        for match in pattern(word).finditer(text)
    ]
    assert found == []


def test_exceptions_are_for_words_of_the_glossary():
    assert {*PHRASES, *OTHERS} <= set(retired())


@pytest.mark.parametrize("text", ["the second read", "second_read", "SECOND-READS"])
def test_a_word_is_found_in_prose_and_in_identifiers(text):
    assert pattern("second read").search(text)
