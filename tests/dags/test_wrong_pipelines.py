"""A newcomer's mistakes, each in a pipeline of its own. The checker's messages are in messages.txt.

A folder has the files that differ from those of the pipeline `right`. Run as a program, this module writes messages.txt
anew.
"""

import shutil
import sys
import tempfile
from pathlib import Path

import pytest

from refresh_factory.check.rules import check_pipelines

WRONG = Path(__file__).parent / "wrong_pipelines"
MESSAGES = WRONG / "messages.txt"
NAMES = sorted(folder.name for folder in WRONG.iterdir() if folder.is_dir())


def messages(name, parent):
    """The messages of the checker about a pipeline, with paths from its folder."""
    folder = parent / name
    shutil.copytree(WRONG / "right", folder)
    shutil.copytree(WRONG / name, folder, dirs_exist_ok=True)
    settings = folder / "pipeline.yaml"
    settings.write_text(settings.read_text().replace("model: right", f"model: {name}"))
    return [str(problem).replace(f"{folder}/", "") for problem in check_pipelines([folder])]


def golden():
    blocks = MESSAGES.read_text().split("\n\n")
    return {block.splitlines()[0]: [line.strip() for line in block.splitlines()[1:]] for block in blocks}


@pytest.mark.parametrize("name", NAMES)
def test_a_mistake_of_a_newcomer_is_found_with_file_line_value_and_fix(name, tmp_path):
    found = messages(name, tmp_path)
    sys.stdout.write("\n  ".join([name, *found]))
    assert found == golden()[name]


def test_each_wrong_pipeline_has_a_message_and_the_right_one_has_none():
    assert {name for name, lines in golden().items() if not lines} == {"right"}


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as parent:
        blocks = ["\n  ".join([name, *messages(name, Path(parent))]) for name in NAMES]
    MESSAGES.write_text("\n\n".join(blocks) + "\n")
    sys.stdout.write(MESSAGES.read_text())
