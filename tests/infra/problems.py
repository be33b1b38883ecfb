"""Problems of a Terraform configuration: undefined names, and mismatches with the schema of the provider.

`terraform validate` would find them too, but it needs a network to download the provider.
"""

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from lark import Tree

from tests.infra.configuration import Block, Module, Name, names, text

Schema = Mapping[str, Any]
"""A block as `record_schema` describes it, with `attributes` by type, `computed` and `blocks`."""

_META_ARGUMENTS = {"count", "for_each", "depends_on", "provider"}
_OWN_NAMES = {
    "each": {"key", "value"},
    "count": {"index"},
    "path": {"module", "root", "cwd"},
    "terraform": {"workspace"},
}


def problems(folder: Path, resources: Mapping[str, Schema]) -> list[str]:
    """Return the problems of a module and of those that it calls.

    Args:
        folder: the folder of the module.
        resources: the schemas by type of resource.
    """
    module = Module.load(folder)
    found = [*_unresolved(module, resources), *_unused(module), *_undescribed(module)]
    for block in module.of("resource").values():
        kind = block.labels[0]
        if kind in resources:
            found += _misfits(str(block), block, resources[kind], top=True)
        else:
            found.append(f"{block}: the recorded schema has no {kind}: make infra-schema")
    for call in module.of("module").values():
        target = module.called(call)
        if not target.blocks:
            found.append(f"{call}: no module in {text(call.arguments['source'])}")
            continue
        found += _miscalled(call, target)
        found += problems(target.folder, resources)
    return list(dict.fromkeys(found))


def _unresolved(module: Module, resources: Mapping[str, Schema]) -> Iterator[str]:
    """Yield the names that are not defined."""
    for block in module.blocks:
        for name in block.names():
            if not _is_defined(module, resources, name):
                yield f"{block}: {'.'.join(name)} does not exist"
        for lifecycle in block.inner("lifecycle"):
            for ignored in names(lifecycle.arguments.get("ignore_changes", Tree("tuple", []))):
                if not _has(resources.get(block.labels[0], {}), ignored):
                    yield f"{block}: {'.'.join(ignored)} does not exist, and cannot be ignored"


def _is_defined(module: Module, resources: Mapping[str, Schema], name: Name) -> bool:
    root, *rest = name
    first, following = rest[0] if rest else "", rest[1:]
    match root:
        case "var":
            return first in module.of("variable")
        case "local":
            return first in module.locals
        case "module":
            call = module.of("module").get(first)
            return call is not None and (not following or following[0] in module.called(call).of("output"))
        case _ if root in _OWN_NAMES:
            return first in _OWN_NAMES[root]
    return (root, first) in module.of("resource") and _has(resources.get(root, {}), following)


def _has(schema: Schema, attributes: Iterable[str]) -> bool:
    """Return True if the schema has the attribute at the end of a path through blocks."""
    for name in attributes:
        if name in schema.get("blocks", {}):
            schema = schema["blocks"][name]
        else:
            return name in schema.get("attributes", {}) or name in schema.get("computed", ())
    return True


def _unused(module: Module) -> Iterator[str]:
    """Yield unused variables and local values."""
    used = {tuple(name[:2]) for block in module.blocks for name in block.names() if block.kind != "variable"}
    yield from (
        f"{block}: nothing uses it" for name, block in module.of("variable").items() if ("var", name) not in used
    )
    yield from (
        f"{module.folder.name}: local.{name}: nothing uses it" for name in module.locals if ("local", name) not in used
    )


def _undescribed(module: Module) -> Iterator[str]:
    for block in module.of("variable").values():
        yield from (f"{block}: it has no {what}" for what in ("description", "type") if what not in block.arguments)
    yield from (f"{b}: it has no description" for b in module.of("output").values() if "description" not in b.arguments)


def _misfits(where: str, block: Block, schema: Schema, *, top: bool = False) -> Iterator[str]:
    """Yield unknown and missing arguments and blocks."""
    attributes, blocks = schema.get("attributes", {}), schema.get("blocks", {})
    for argument in block.arguments.keys() - attributes.keys() - (_META_ARGUMENTS if top else set()):
        yield f"{where}: unknown argument {argument}; known: {', '.join(sorted(attributes))}"
    given: dict[str, int] = {}
    for inner in block.blocks:
        kind, content = inner.kind, inner
        if top and kind == "lifecycle":
            continue
        if kind == "dynamic":
            kind, (content,) = inner.labels[0], inner.inner("content")
        if kind not in blocks:
            yield f"{where}: unknown block {kind}; known: {', '.join(sorted(blocks)) or 'none'}"
            continue
        given[kind] = given.get(kind, 0) + 1
        if given[kind] > 1 and not blocks[kind]["repeated"]:
            yield f"{where}: more than one block {kind}"
        yield from _misfits(f"{where}.{kind}", content, blocks[kind])
    needed = {name for name, kind in attributes.items() if kind.endswith("!")}
    needed |= {name for name, kind in blocks.items() if kind["required"]}
    for name in sorted(needed - block.arguments.keys() - given.keys()):
        yield f"{where}: {name} is missing"


def _miscalled(call: Block, target: Module) -> Iterator[str]:
    """Yield unknown and missing inputs of a module."""
    variables = target.of("variable")
    given = call.arguments.keys() - {"source"} - _META_ARGUMENTS
    yield from (f"{call}: {target.folder.name} has no input {name}" for name in sorted(given - variables.keys()))
    needed = {name for name, variable in variables.items() if "default" not in variable.arguments}
    yield from (f"{call}: {target.folder.name} needs the input {name}" for name in sorted(needed - given))
