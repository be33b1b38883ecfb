"""A YAML file that knows in which line each of its fields stands."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml


class YamlFile:
    """The content of a YAML file, and the lines of its fields."""

    def __init__(self, path: Path) -> None:
        """Read a file.

        Raises:
            yaml.MarkedYAMLError: it is not YAML, or a mapping has a key twice, of which YAML would ignore the first.
        """
        loader = yaml.SafeLoader(path.read_text())
        try:
            self._root = loader.get_single_node()
            _refuse_repeated_keys(self._root)
            self.content: Any = None if self._root is None else loader.construct_document(self._root)
        finally:
            loader.dispose()

    def line(self, field: Sequence[str | int]) -> int:
        """The line of a field, or of the innermost part of its path that the file has. The first line is 1."""
        node, line = self._root, 1
        for part in field:
            if isinstance(node, yaml.MappingNode):
                found = next(((key, value) for key, value in node.value if key.value == str(part)), None)
            elif isinstance(node, yaml.SequenceNode) and isinstance(part, int):
                found = (node.value[part], node.value[part])
            else:
                found = None
            if found is None:
                break
            key, node = found
            line = key.start_mark.line + 1
        return line


def _refuse_repeated_keys(node: yaml.Node | None) -> None:
    if isinstance(node, yaml.SequenceNode):
        for item in node.value:
            _refuse_repeated_keys(item)
    elif isinstance(node, yaml.MappingNode):
        seen: set[str] = set()
        for key, value in node.value:
            if isinstance(key, yaml.ScalarNode) and key.value in seen:
                raise yaml.MarkedYAMLError(problem=f"{key.value} is there twice", problem_mark=key.start_mark)
            seen.add(str(key.value))
            _refuse_repeated_keys(value)
