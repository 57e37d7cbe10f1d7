from __future__ import annotations

from pathlib import Path
from typing import Any

from mesh.sandbox.apiserver.protobuf import wire
from mesh.sandbox.apiserver.schema.definitions import definitions
from mesh.sandbox.apiserver.schema.generate_wire import read, wire_type

SOURCE = """
type Phase string
type Extra []string
type Spec struct {
	// comment
	Replicas *int32 `json:"replicas,omitempty" protobuf:"varint,1,opt,name=replicas"`
	Common `json:",inline" protobuf:"bytes,2,opt,name=common"`
	Parts []Part `json:"parts" patchStrategy:"merge" patchMergeKey:"name" protobuf:"bytes,3,rep,name=parts"`
}
type Common struct {
}
type Part struct {
}
"""


def test_struct_tags_are_read(tmp_path: Path) -> None:
    (tmp_path / "types.go").write_text(SOURCE)
    structs: dict[str, list[dict[str, str]]] = {}
    aliases: dict[str, str] = {}
    read("x.v1", tmp_path, structs, aliases)
    assert [(f["json"], f["type"], f["number"]) for f in structs["x.v1.Spec"]] == [("replicas,omitempty", "*int32", "1"), (",inline", "Common", "2"), ("parts", "[]Part", "3")]

    def kind(text: str) -> str:
        return wire_type(text, "x.v1", structs, aliases)

    assert [kind(t) for t in ("*int32", "Common", "[]Part", "Phase", "map[string]Extra", "metav1.Time", "[]byte", "intstr.IntOrString")] == [
        "i", "x.v1.Common", "[]x.v1.Part", "s", "{}items:s", "time", "y", "int-or-string"]  # fmt: skip


def test_table_covers_every_field_of_every_definition() -> None:
    def names(definition: str) -> set[str]:
        found: set[str] = set()
        for name, kind, _ in wire()[definition].values():
            found |= {name} if name else names(kind)
        return found

    missing: dict[str, Any] = {}
    for definition, node in definitions().items():
        if definition in wire():
            absent = set(node.get("properties", {})) - names(definition) - {"kind", "apiVersion"}
            if absent:
                missing[definition] = absent
        elif not definition.startswith("apiextensions."):
            missing[definition] = "no table"
    assert missing == {}
