"""Data types of BigQuery."""

from dataclasses import dataclass
from typing import Any, Self

from zetasql.wasi._pb2.zetasql.public import type_pb2


@dataclass(frozen=True)
class Type:
    """A data type of BigQuery.

    Attributes:
        kind: INT64, STRUCT, ARRAY, ...
        fields: names and types of a STRUCT's fields; a field without a name has an empty one.
        element: the type of an ARRAY's or a RANGE's elements.
    """

    kind: str
    fields: tuple[tuple[str, "Type"], ...] = ()
    element: "Type | None" = None

    @classmethod
    def array(cls, element: Self) -> "Type":
        """Return the ARRAY of a type."""
        return cls("ARRAY", element=element)

    @classmethod
    def struct(cls, **fields: "Type") -> "Type":
        """Return the STRUCT of some fields."""
        return cls("STRUCT", tuple(fields.items()))

    def __str__(self) -> str:
        if self.kind == "STRUCT":
            return f"STRUCT<{', '.join(f'{name} {kind}'.strip() for name, kind in self.fields)}>"
        return f"{self.kind}<{self.element}>" if self.element else self.kind


def to_proto(kind: Type) -> Any:
    """Return a type as ZetaSQL's message."""
    name = "DOUBLE" if kind.kind == "FLOAT64" else kind.kind
    proto = type_pb2.TypeProto(type_kind=type_pb2.TypeKind.Value(f"TYPE_{name}"))
    if kind.kind == "STRUCT":
        proto.struct_type.SetInParent()
        for name, inner in kind.fields:
            proto.struct_type.field.add(field_name=name, field_type=to_proto(inner))
    elif kind.element:
        getattr(proto, f"{kind.kind.lower()}_type").element_type.CopyFrom(to_proto(kind.element))
    return proto


def from_proto(proto: Any) -> Type:
    """Return the type of ZetaSQL's message."""
    name = type_pb2.TypeKind.Name(proto.type_kind).removeprefix("TYPE_")
    if name == "STRUCT":
        fields = proto.struct_type.field
        return Type("STRUCT", tuple((each.field_name, from_proto(each.field_type)) for each in fields))
    if name in ("ARRAY", "RANGE"):
        return Type(name, element=from_proto(getattr(proto, f"{name.lower()}_type").element_type))
    return Type("FLOAT64" if name == "DOUBLE" else name)
