"""What is wrong in a Terraform configuration: names of what is not there, and what does not fit the provider's schema.

Terraform itself would say so, but needs the provider, which is not to be had without a network.
"""

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from lark import Tree

from tests.infra.configuration import Block, Module, Name, names, text

Schema = Mapping[str, Any]
"""A block as `record_schema` describes it: `attributes` by type, `computed`, `blocks`."""

_META_ARGUMENTS = {"count", "for_each", "depends_on", "provider"}
_OWN_NAMES = {
    "each": {"key", "value"},
    "count": {"index"},
    "path": {"module", "root", "cwd"},
    "terraform": {"workspace"},
}


def problems(folder: Path, resources: Mapping[str, Schema]) -> list[str]:
    """All that is wrong in a module, and in those that it calls.

    Args:
        folder: of the module.
        resources: the schema of each type of resource.
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
            found.append(f"{call}: there is no module in {text(call.arguments['source'])}")
            continue
        found += _miscalled(call, target)
        found += problems(target.folder, resources)
    return list(dict.fromkeys(found))


def _unresolved(module: Module, resources: Mapping[str, Schema]) -> Iterator[str]:
    """What is named and is not there."""
    for block in module.blocks:
        for name in block.names():
            if not _is_there(module, resources, name):
                yield f"{block}: {'.'.join(name)} is not there"
        for lifecycle in block.inner("lifecycle"):
            for ignored in names(lifecycle.arguments.get("ignore_changes", Tree("tuple", []))):
                if not _has(resources.get(block.labels[0], {}), ignored):
                    yield f"{block}: {'.'.join(ignored)} is not there, and cannot be ignored"


def _is_there(module: Module, resources: Mapping[str, Schema], name: Name) -> bool:
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
    """Whether an attribute, down through blocks, is one of the schema's."""
    for name in attributes:
        if name in schema.get("blocks", {}):
            schema = schema["blocks"][name]
        else:
            return name in schema.get("attributes", {}) or name in schema.get("computed", ())
    return True


def _unused(module: Module) -> Iterator[str]:
    """Variables and local values that nothing names."""
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
    """Arguments and blocks that the schema does not have, or that are missing."""
    attributes, blocks = schema.get("attributes", {}), schema.get("blocks", {})
    for argument in block.arguments.keys() - attributes.keys() - (_META_ARGUMENTS if top else set()):
        yield f"{where}: no argument {argument}; there are {', '.join(sorted(attributes))}"
    given: dict[str, int] = {}
    for inner in block.blocks:
        kind, content = inner.kind, inner
        if top and kind == "lifecycle":
            continue
        if kind == "dynamic":
            kind, (content,) = inner.labels[0], inner.inner("content")
        if kind not in blocks:
            yield f"{where}: no block {kind}; there are {', '.join(sorted(blocks)) or 'none'}"
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
    """Inputs that a module does not have, or that are missing."""
    variables = target.of("variable")
    given = call.arguments.keys() - {"source"} - _META_ARGUMENTS
    yield from (f"{call}: {target.folder.name} has no input {name}" for name in sorted(given - variables.keys()))
    needed = {name for name, variable in variables.items() if "default" not in variable.arguments}
    yield from (f"{call}: {target.folder.name} needs the input {name}" for name in sorted(needed - given))
