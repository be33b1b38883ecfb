import pytest

from tests.tools.docstrings import complaint, docstrings, main


@pytest.mark.parametrize(
    "docstring",
    [
        "What came of a gate.",
        "Whether it did.",
        "Of the link.",
        "As RECORD has it.",
        "Then it ends.",
    ],
)
def test_a_docstring_that_begins_with_a_question_word_or_a_preposition_is_refused(docstring):
    assert docstring.partition(" ")[0] in complaint(docstring)


@pytest.mark.parametrize("docstring", ["The outcome of a gate.", "Return True if it did.", "FOR x IN (query)", ""])
def test_a_docstring_that_begins_with_a_noun_a_verb_or_a_name_is_accepted(docstring):
    assert complaint(docstring) is None


def test_docstrings_of_modules_classes_functions_and_variables_are_found():
    source = '''"""module"""
LIMIT: int = 1
"""variable"""
class A:
    """class"""
    async def f(self):
        """function"""
        "".strip()
        """no docstring"""
'''
    assert list(docstrings(source)) == [(1, "module"), (3, "variable"), (5, "class"), (7, "function")]


def test_files_and_folders_are_searched_but_no_hidden_ones(tmp_path, capsys):
    (tmp_path / ".venvs").mkdir()
    (tmp_path / ".venvs" / "installed.py").write_text('"""What is installed."""\n')
    (tmp_path / "good.py").write_text('"""A module."""\n')
    assert main([str(tmp_path)]) == 0
    bad = tmp_path / "bad.py"
    bad.write_text('"""A module."""\n\ndef f():\n    """How it is done."""\n')
    assert main([str(tmp_path / "good.py"), str(bad)]) == 1
    assert capsys.readouterr().out == f"{bad}:4: the docstring begins with a question word: How\n"
