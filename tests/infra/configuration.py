"""Parsed Terraform configurations: blocks, and the names in their expressions."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import hcl2
from lark import Token, Tree

Name = tuple[str, ...]
"""The names of a traversal such as var.clusters[0].zone, without the indexes in brackets."""

_TRAVERSALS = {"get_attr_expr_term", "index_expr_term", "attr_splat_expr_term", "full_splat_expr_term"}


@dataclass
class Block:
    """A block with its labels, its arguments and its inner blocks."""

    kind: str
    labels: list[str]
    arguments: dict[str, Tree]
    blocks: list["Block"]
    file: str

    def __str__(self) -> str:
        return f"{self.file}: {'.'.join([self.kind, *self.labels])}"

    def inner(self, kind: str) -> list["Block"]:
        return [block for block in self.blocks if block.kind == kind]

    def names(self, bound: frozenset[str] = frozenset()) -> Iterator[Name]:
        """Yield the names in the expressions of the block, without variables of `for` and `dynamic`."""
        if self.kind == "dynamic":
            yield from names(self.arguments["for_each"], bound)
            bound |= {self.labels[0]}
        for argument, expression in self.arguments.items():
            if (self.kind, argument) not in {
                ("dynamic", "for_each"),
                ("lifecycle", "ignore_changes"),
                ("variable", "type"),
            }:
                yield from names(expression, bound)
        for block in self.blocks:
            yield from block.names(bound)


@dataclass
class Module:
    """The files of one folder."""

    folder: Path
    blocks: list[Block] = field(default_factory=list)

    @classmethod
    @cache
    def load(cls, folder: Path) -> "Module":
        """Parse the files of a folder."""
        module = cls(folder)
        for file in sorted(folder.glob("*.tf")):
            tree = hcl2.parses_to_tree(file.read_text())
            module.blocks += _body(tree.children[0], f"{folder.name}/{file.name}")[1]
        return module

    def of(self, kind: str) -> dict[Any, Block]:
        """Return the blocks of a kind, by their labels."""
        return {
            block.labels[0] if len(block.labels) == 1 else tuple(block.labels): block
            for block in self.blocks
            if block.kind == kind
        }

    @property
    def locals(self) -> set[str]:
        return {name for block in self.blocks if block.kind == "locals" for name in block.arguments}

    def called(self, call: Block) -> "Module":
        """Return the module that a block calls."""
        return Module.load((self.folder / text(call.arguments["source"])).resolve())


def names(tree: Tree, bound: frozenset[str] = frozenset()) -> Iterator[Name]:
    """Yield the names in an expression, without bound variables."""
    match tree.data:
        case "function_call":
            parts = [child for child in _trees(tree) if child.data != "identifier"]
        case "object_elem":
            key, value = _trees(tree)
            parts = (
                [value] if _unwrapped(key).data == "identifier" else [key, value]
            )  # a plain word is a key, not a name
        case "for_tuple_expr" | "for_object_expr":
            intro, *parts = [child for child in _trees(tree) if child.data != "new_line_or_comment"]
            *variables, collection = [child for child in _trees(intro) if child.data != "new_line_or_comment"]
            yield from names(collection, bound)
            bound |= {_word(variable) for variable in variables}
        case kind if kind == "identifier" or kind in _TRAVERSALS:
            root, steps, parts = _traversal(tree)
            if root is not None and root not in bound:
                yield (root, *steps)
        case _:
            parts = _trees(tree)
    for part in parts:
        yield from names(part, bound)


def text(expression: Tree) -> str:
    """Return the text of a string that has no interpolations."""
    return "".join(str(token) for token in expression.scan_values(lambda token: token.type == "STRING_CHARS"))


def _body(tree: Tree, file: str) -> tuple[dict[str, Tree], list[Block]]:
    arguments: dict[str, Tree] = {}
    blocks: list[Block] = []
    for child in _trees(tree):
        if child.data == "attribute":
            name, *_, expression = _trees(child)
            arguments[_word(name)] = expression
        elif child.data == "block":
            *head, body = [part for part in _trees(child) if part.data != "new_line_or_comment"]
            kind, *labels = [_word(part) if part.data == "identifier" else text(part) for part in head]
            blocks.append(Block(kind, labels, *_body(body, file), file))
    return arguments, blocks


def _trees(tree: Tree) -> list[Tree]:
    return [child for child in tree.children if isinstance(child, Tree)]


def _word(tree: Tree) -> str:
    return str(next(tree.scan_values(lambda token: isinstance(token, Token))))


def _unwrapped(tree: Tree) -> Tree:
    while tree.data in {"expr_term", "object_elem_key"} and len(tree.children) == 1:
        tree = tree.children[0]
    return tree


def _traversal(tree: Tree) -> tuple[str | None, list[str], list[Tree]]:
    """Return the first name (None if another expression comes first), the attributes, and the inner expressions."""
    tree = _unwrapped(tree)
    if tree.data == "identifier":
        return _word(tree), [], []
    if tree.data not in _TRAVERSALS:
        return None, [], [tree]
    inner, *steps = _trees(tree)
    root, attributes, parts = _traversal(inner)
    for step in steps:
        pieces = _trees(step) if step.data in {"attr_splat", "full_splat"} else [step]
        attributes += [_word(_trees(piece)[0]) for piece in pieces if piece.data == "get_attr"]
        parts += [piece for piece in pieces if piece.data == "braces_index"]
    return root, attributes, parts
