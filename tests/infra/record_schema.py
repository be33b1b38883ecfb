"""Writes provider_schema.json, the part of the Google provider's schema that infra/ uses: `make infra-schema`.

The source is the jsii assembly in the package cdktn-provider-google, which describes every resource of the
provider. A `...Config` interface has the arguments. The class of the resource, and for an inner block the class
`...OutputReference`, also has the read-only attributes.
"""

import importlib.metadata
import importlib.util
import json
import re
import tarfile
from pathlib import Path
from typing import Any

PACKAGE = "cdktn-provider-google"
INFRA = Path(__file__).parents[2] / "infra"
SCHEMA = Path(__file__).with_name("provider_schema.json")

# Attributes of the classes that come from CDK Terrain, not from the provider.
_NOT_THE_PROVIDERS = {"internal_value", "fqn", "tf_resource_type"}


def main() -> None:
    """Write provider_schema.json."""
    spec = importlib.util.find_spec(PACKAGE.replace("-", "_"))
    if spec is None or spec.origin is None:
        raise SystemExit(f"{PACKAGE} is not installed; run this by `make infra-schema`")
    (archive,) = Path(spec.origin).parent.glob("_jsii/*.tgz")
    with tarfile.open(archive) as files:
        assembly = files.extractfile("package/.jsii")
        if assembly is None:
            raise SystemExit(f"{archive} has no assembly")
        types = json.load(assembly)["types"]
    used = {
        name
        for file in INFRA.rglob("*.tf")
        for name in re.findall(r'^resource "google_(\w+)"', file.read_text(), re.MULTILINE)
    }
    readme = importlib.metadata.metadata(PACKAGE).get_payload()
    version = re.search(r"hashicorp/google provider version ([\d.]+)", str(readme))
    if version is None:
        raise SystemExit(f"{PACKAGE} does not name the version of the provider")
    schema = {
        "source": f"{PACKAGE} {importlib.metadata.version(PACKAGE)}",
        "provider": f"hashicorp/google {version[1]}",
        "resources": {f"google_{name}": _block(types, *_resource(types, name)) for name in sorted(used)},
    }
    lines = json.dumps(schema["resources"], sort_keys=True, separators=(",", ":")).replace('},"google_', '},\n"google_')
    head = "".join(f'"{key}":{json.dumps(schema[key])},\n' for key in ("source", "provider"))
    SCHEMA.write_text(f'{{{head}"resources":{lines}}}\n')


def _resource(types: dict[str, Any], name: str) -> tuple[str, str]:
    """Return the name of the interface with a resource's arguments, and the name of its class."""
    camel = "".join(part.capitalize() for part in name.split("_"))
    for full_name in types:
        if full_name.rpartition(".")[2].lower() == f"{camel}Config".lower():
            return full_name, full_name.removesuffix("Config")
    raise SystemExit(f"google_{name}: the provider has no such resource")


def _block(types: dict[str, Any], interface: str, readable: str) -> dict[str, Any]:
    """Describe a block: attributes by type, with `!` if required; allowed values; computed attributes; inner blocks."""
    attributes: dict[str, str] = {}
    values: dict[str, list[str]] = {}
    blocks: dict[str, Any] = {}
    for member in types[interface].get("properties", ()):
        name, required = _name(member), not member.get("optional")
        kind = json.dumps(member["type"])
        inner = re.search(r'"fqn": "(@cdktn/provider-google\.[^"]+)"', kind)
        if inner is None:
            attributes[name] = _type(kind) + "!" * required
            text = " ".join(member["docs"].get(part, "") for part in ("summary", "remarks"))
            if listed := re.search(r'Possible values: (\["[^\]]+\])', text):
                values[name] = json.loads(listed[1])
            continue
        repeated = '"array"' in kind
        blocks[name] = {
            "required": required,
            "repeated": repeated,
            **_block(types, inner[1], f"{inner[1]}OutputReference"),
        }
    computed = {_snake(member["name"]) for member in types[readable].get("properties", ()) if not member.get("static")}
    computed = {name for name in computed if not name.endswith("_input")} - attributes.keys() - blocks.keys()
    computed -= _NOT_THE_PROVIDERS
    described = {"attributes": attributes, "values": values, "computed": sorted(computed), "blocks": blocks}
    return {key: value for key, value in described.items() if value}


def _name(member: dict[str, Any]) -> str:
    """Return the provider's name of an argument, from the link to its documentation."""
    link = re.search(r"#(\w+) \w+#", member["docs"].get("remarks", ""))
    return link[1] if link else _snake(member["name"])


def _snake(name: str) -> str:
    return re.sub(r"([A-Z])", lambda letter: f"_{letter[1].lower()}", name)


def _type(kind: str) -> str:
    scalar = next(name for name in ("boolean", "number", "string") if f'"{name}"' in kind)
    shape = next((name for name in ("map", "array") if f'"kind": "{name}"' in kind), "")
    return {"": "{}", "map": "map({})", "array": "list({})"}[shape].format(scalar.replace("boolean", "bool"))


if __name__ == "__main__":
    main()
