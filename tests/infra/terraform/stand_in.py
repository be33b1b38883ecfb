"""A stand-in for Terraform's Google provider, which has the recorded schema and creates nothing.

Terraform connects to it as to a provider in a debugger: by gRPC, at the address in TF_REATTACH_PROVIDERS. This program
prints the value of that variable. It invents the attributes that Google Cloud would determine.
"""

import json
import os
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
import msgpack
from tf.gen import tfplugin_pb2 as protocol
from tf.gen.tfplugin_pb2_grpc import ProviderServicer, add_ProviderServicer_to_server

RESOURCES = json.loads((Path(__file__).parents[1] / "provider_schema.json").read_text())["resources"]
CONFIGURATION = {
    "project": "string",
    "region": "string",
    "default_labels": "map(string)",
    "billing_project": "string",
    "user_project_override": "bool",
}
"""The arguments of the provider that infra/ sets."""

UNKNOWN = msgpack.ExtType(0, b"\0")

Attribute, Block, NestedBlock = protocol.Schema.Attribute, protocol.Schema.Block, protocol.Schema.NestedBlock


def invented(name, resource):
    """Return an attribute that Google Cloud would determine."""
    match name:
        case "email":
            return f"{resource['account_id']}@{resource['project']}.iam.gserviceaccount.com"
        case "uri":
            return f"https://{resource['name']}-abc.a.run.app"
        case "dag_gcs_prefix":
            return "gs://europe-west1-foreserve-bucket/dags"
    return f"made-up-{name}"


def type_of(kind):
    """Return a type of the recorded schema in the encoding of the protocol."""
    shape, _, element = kind.removesuffix("!").removesuffix(")").partition("(")
    return json.dumps([shape, element] if element else shape).encode()


def block(schema, *, top):
    attributes = [
        Attribute(
            name=name,
            type=type_of(kind),
            required=kind.endswith("!"),
            optional=not kind.endswith("!"),
            computed=top and name == "id",
        )
        for name, kind in schema.get("attributes", {}).items()
    ]
    attributes += [Attribute(name=name, type=b'"string"', computed=True) for name in schema.get("computed", ())]
    inner = [
        NestedBlock(
            type_name=name,
            block=block(nested, top=False),
            nesting=NestedBlock.LIST,
            min_items=int(nested["required"]),
            max_items=0 if nested["repeated"] else 1,
        )
        for name, nested in schema.get("blocks", {}).items()
    ]
    return Block(attributes=attributes, block_types=inner)


def filled(schema, value, fill, *, top=True):
    """Fill in the computed attributes of a resource."""
    for name in [*schema.get("computed", ()), *(["id"] if top else [])]:
        value[name] = fill(name, value.get(name))
    for name, nested in schema.get("blocks", {}).items():
        for inner in value.get(name) or ():
            if isinstance(inner, dict):
                filled(nested, inner, fill, top=False)
    return value


def shaped(schema, value, *, top=True):
    """Return a state of another version of the provider with the attributes of this one."""
    names = {*schema.get("attributes", ()), *schema.get("computed", ()), *(["id"] if top else [])}
    blocks = {
        name: [shaped(nested, inner, top=False) for inner in value.get(name) or () if isinstance(inner, dict)]
        for name, nested in schema.get("blocks", {}).items()
    }
    return {name: value.get(name) for name in names} | blocks


def wrong_values(schema, value):
    """Yield complaints about values that the provider's documentation does not list."""
    for name, allowed in schema.get("values", {}).items():
        given = value.get(name)
        for one in given if isinstance(given, list) else [given]:
            if isinstance(one, str) and one not in allowed:
                yield f"expected {name} to be one of {allowed}, got {one}"
    for name, nested in schema.get("blocks", {}).items():
        for inner in value.get(name) or ():
            if isinstance(inner, dict):
                yield from wrong_values(nested, inner)


def unpacked(state):
    return msgpack.unpackb(state.msgpack, ext_hook=msgpack.ExtType)


def packed(value):
    return protocol.DynamicValue(msgpack=msgpack.packb(value))


class Provider(ProviderServicer):
    """The calls of Terraform to a provider."""

    def GetProviderSchema(self, request, context):
        arguments = [Attribute(name=n, type=type_of(kind), optional=True) for n, kind in CONFIGURATION.items()]
        return protocol.GetProviderSchema.Response(
            provider=protocol.Schema(block=Block(attributes=arguments)),
            resource_schemas={n: protocol.Schema(block=block(schema, top=True)) for n, schema in RESOURCES.items()},
        )

    def ValidateProviderConfig(self, request, context):
        return protocol.ValidateProviderConfig.Response()

    def ConfigureProvider(self, request, context):
        return protocol.ConfigureProvider.Response()

    def ValidateResourceConfig(self, request, context):
        wrong = wrong_values(RESOURCES[request.type_name], unpacked(request.config))
        error = protocol.Diagnostic.ERROR
        diagnostics = [protocol.Diagnostic(severity=error, summary=complaint) for complaint in wrong]
        return protocol.ValidateResourceConfig.Response(diagnostics=diagnostics)

    def UpgradeResourceState(self, request, context):
        state = shaped(RESOURCES[request.type_name], json.loads(request.raw_state.json))
        return protocol.UpgradeResourceState.Response(upgraded_state=packed(state))

    def ReadResource(self, request, context):
        return protocol.ReadResource.Response(new_state=request.current_state)

    def PlanResourceChange(self, request, context):
        proposed = unpacked(request.proposed_new_state)
        if proposed is not None:
            filled(RESOURCES[request.type_name], proposed, lambda _, known: UNKNOWN if known is None else known)
        return protocol.PlanResourceChange.Response(planned_state=packed(proposed))

    def ApplyResourceChange(self, request, context):
        planned = unpacked(request.planned_state)
        if planned is None and unpacked(request.prior_state).get("deletion_policy") == "PREVENT":
            refusal = protocol.Diagnostic(severity=protocol.Diagnostic.ERROR, summary="deletion_policy is PREVENT")
            return protocol.ApplyResourceChange.Response(new_state=request.prior_state, diagnostics=[refusal])
        if planned is not None:
            filled(
                RESOURCES[request.type_name],
                planned,
                lambda name, known: invented(name, planned) if known in (None, UNKNOWN) else known,
            )
        return protocol.ApplyResourceChange.Response(new_state=packed(planned))

    def StopProvider(self, request, context):
        return protocol.StopProvider.Response()


def main():
    server = grpc.server(ThreadPoolExecutor(4))
    add_ProviderServicer_to_server(Provider(), server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    address = {"Network": "tcp", "String": f"127.0.0.1:{port}"}
    reattach = {"Protocol": "grpc", "ProtocolVersion": 6, "Pid": os.getpid(), "Test": True, "Addr": address}
    sys.stdout.write(json.dumps({"registry.terraform.io/hashicorp/google": reattach}) + "\n")
    sys.stdout.flush()
    sys.stdin.read()  # until the parent process closes the pipe


if __name__ == "__main__":
    main()
