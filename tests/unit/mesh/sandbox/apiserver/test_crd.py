from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest

from mesh.sandbox.apiserver import crd
from tests.support.apiserver_local import local

DEFINITION: dict[str, Any] = {
    "metadata": {"name": "gadgets.example.com", "creationTimestamp": "2030-01-01T00:00:00Z"},
    "spec": {"group": "example.com", "scope": "Namespaced", "names": {"plural": "gadgets", "kind": "Gadget", "shortNames": ["gd"]}, "versions": [
        {"name": "v1beta1", "served": True, "storage": False, "deprecated": True, "schema": {"openAPIV3Schema": {"type": "object"}}},
        {"name": "v1", "served": True, "storage": True, "schema": {"openAPIV3Schema": {"type": "object", "properties": {"spec": {"type": "object"}}}},
         "subresources": {"status": {}, "scale": {"specReplicasPath": ".spec.n", "statusReplicasPath": ".status.n"}},
         "additionalPrinterColumns": [{"name": "N", "type": "integer", "jsonPath": ".spec.n"}], "selectableFields": [{"jsonPath": ".spec.color"}]},
        {"name": "v0", "served": False, "storage": False, "schema": {"openAPIV3Schema": {"type": "object"}}},
    ]},
}  # fmt: skip


def changed(path: str, value: Any) -> dict[str, Any]:
    made = copy.deepcopy(DEFINITION)
    holder: Any = made
    *parents, last = path.split(".")
    for part in parents:
        holder = holder[int(part)] if isinstance(holder, list) else holder[part]
    holder[last] = value
    return made


def test_rows_are_the_served_versions_best_first() -> None:
    rows = crd.rows(DEFINITION)
    assert [(r.version, r.storage_version, r.has_status, r.scale is not None, bool(r.deprecated)) for r in rows] == [("v1", "v1", True, True, False), ("v1beta1", "v1", False, False, True)]
    assert rows[0].key == "gadgets.example.com" and rows[0].selectable == ("spec.color",) and rows[0].columns[0].name == "N"


def test_good_definition_passes_and_is_established() -> None:
    assert crd.check(DEFINITION, None) == []
    made = copy.deepcopy(DEFINITION)
    crd.finish(made, None, "")
    assert [c["type"] for c in made["status"]["conditions"]] == ["NamesAccepted", "Established"] and made["status"]["storedVersions"] == ["v1"]
    assert made["metadata"]["finalizers"] == [crd.CLEANUP]


@pytest.mark.parametrize(
    ("path", "value", "field"),
    [
        ("metadata.name", "x.example.com", "metadata.name"), ("spec.scope", "World", "spec.scope"), ("spec.conversion", {"strategy": "Webhook"}, "spec.conversion.strategy"),
        ("spec.versions.0.storage", True, "spec.versions"), ("spec.versions.0.name", "v1", "spec.versions"), ("spec.versions.1.schema", {}, "spec.versions[1].schema.openAPIV3Schema"),
        ("spec.versions.1.additionalPrinterColumns", [{"name": "a", "type": "tensor", "jsonPath": ".a"}], "spec.versions[1].additionalPrinterColumns[0].type"),
        ("spec.versions.1.additionalPrinterColumns", [{"name": "a", "type": "string", "jsonPath": ".a["}], "spec.versions[1].additionalPrinterColumns[0].jsonPath"),
        ("spec.versions.1.schema.openAPIV3Schema.type", "array", "spec.versions[1].schema.openAPIV3Schema.type"),
    ],
)  # fmt: skip
def test_bad_definitions(path: str, value: Any, field: str) -> None:
    assert field in [c.field for c in crd.check(changed(path, value), None)]


def test_structural_schemas_only() -> None:
    bad = {"type": "object", "properties": {"a": {}, "b": {"type": "array"}, "c": {"type": "object", "properties": {"x": {"type": "string"}}, "additionalProperties": {"type": "string"}}, "d": {"type": "string", "$ref": "x"},
           "e": {"type": "array", "x-kubernetes-list-type": "map", "items": {"type": "object"}}}}  # fmt: skip
    assert [c.field for c in crd.structure(bad, "s")] == ["s.properties[a].type", "s.properties[b].items", "s.properties[c].additionalProperties", "s.properties[d].$ref", "s.properties[e].x-kubernetes-list-map-keys"]


async def test_registry_follows_the_store(tmp_path: Path) -> None:
    async with local(tmp_path) as api:
        crds = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
        await api.create(crds, "gadgets.example.com", spec=DEFINITION["spec"])
        gadgets = "/apis/example.com/v1/namespaces/default/gadgets"
        await api.create(gadgets, "one", spec={})
        _, found = await api.call("GET", f"{crds}/gadgets.example.com")
        found["spec"]["versions"][1]["served"] = False
        assert (await api.call("PUT", f"{crds}/gadgets.example.com", found))[0] == 200
        assert (await api.call("GET", gadgets))[0] == 404
        assert (await api.call("GET", gadgets.replace("v1", "v1beta1")))[0] == 200
