"""YAML files with the line of each field."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml


class BothNamesError(Exception):
    """A mapping has a field under its old and its new name."""


class YamlFile:
    """The content of a YAML file, and the lines of its fields. The first line is 1."""

    def __init__(self, path: Path) -> None:
        """Read a file.

        Raises:
            yaml.MarkedYAMLError: it is not YAML, or a mapping has a key twice (YAML would ignore the first one).
        """
        try:
            self._root = yaml.compose(path.read_text(encoding="utf-8"), yaml.SafeLoader)
            _refuse_repeated_keys(self._root, set())
        except UnicodeDecodeError as error:
            raise yaml.MarkedYAMLError(problem=f"write the file in UTF-8 ({error})") from None
        except yaml.reader.ReaderError as error:
            raise yaml.MarkedYAMLError(problem=str(error)) from None
        except RecursionError:
            raise yaml.MarkedYAMLError(problem="nested too deeply") from None

    def content(self) -> Any:
        """The content as Python values.

        Raises:
            yaml.MarkedYAMLError: a key is not hashable, or a value is not of the type that its tag says.
        """
        return None if self._root is None else _Loader("").construct_document(self._root)

    def line(self, field: Sequence[str | int]) -> int:
        """The line of a field, given by its path; if the file does not have it, that of the innermost part it has."""
        node, line = self._root, 1
        for part in field:
            found = _entry(node, part)
            if found is None:
                break
            key, node = found
            line = key.start_mark.line + 1
        return line

    def rename(self, field: Sequence[str], name: str) -> int | None:
        """Rename a field; return its line, or None if the file does not have the field.

        Args:
            field: the path of the field.
            name: the new name.

        Raises:
            BothNamesError: the file has the field under both names.
        """
        node = self._root
        for part in field[:-1]:
            found = _entry(node, part)
            node = found and found[1]
        old = _entry(node, field[-1])
        if old is None:
            return None
        if _entry(node, name) is not None:
            raise BothNamesError
        old[0].value = name
        return int(old[0].start_mark.line) + 1


class _Loader(yaml.SafeLoader):
    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:  # noqa: FBT001, FBT002  as in the base class
        try:
            return super().construct_object(node, deep)
        except ValueError as error:  # such as a date on the 31st of June
            raise yaml.MarkedYAMLError(problem=str(error), problem_mark=node.start_mark) from None


def _entry(node: yaml.Node | None, part: str | int) -> tuple[yaml.Node, yaml.Node] | None:
    """The key and the value of a field; for an item of a sequence, both are the item."""
    if isinstance(node, yaml.MappingNode):
        return next(((key, value) for key, value in node.value if key.value == str(part)), None)
    if isinstance(node, yaml.SequenceNode) and isinstance(part, int):
        return node.value[part], node.value[part]
    return None


def _refuse_repeated_keys(node: yaml.Node | None, known: set[int]) -> None:
    """Refuse a mapping that has a key twice. `known` has the nodes that were seen: aliases lead to them again."""
    if id(node) in known:
        return
    known.add(id(node))
    if isinstance(node, yaml.SequenceNode):
        for item in node.value:
            _refuse_repeated_keys(item, known)
    elif isinstance(node, yaml.MappingNode):
        seen: set[str] = set()
        for key, value in node.value:
            if isinstance(key, yaml.ScalarNode) and key.value in seen:
                raise yaml.MarkedYAMLError(
                    problem=f"{key.value} is there twice; remove one", problem_mark=key.start_mark
                )
            seen.add(str(key.value))
            _refuse_repeated_keys(value, known)
