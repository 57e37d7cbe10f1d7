from __future__ import annotations

from typing import Any

from mesh.sandbox.apiserver.schema.definitions import (
    child,
    definitions,
    is_map,
    items,
    keeps_unknown,
    list_keys,
    resolve,
)


def test_every_reference_resolves() -> None:
    def walk(node: Any) -> None:
        if isinstance(node, dict):
            if isinstance(node.get("$ref"), str):
                assert node["$ref"] in definitions()
            for value in node.values():
                walk(value)
        elif isinstance(node, list):
            for value in node:
                walk(value)

    walk(definitions())


def test_navigation() -> None:
    pod = {"$ref": "core.v1.Pod"}
    spec = child(pod, "spec")
    assert spec is not None and child(pod, "bogus") is None
    containers = child(spec, "containers")
    assert containers is not None and list_keys(containers) == ("name",) and child(items(containers), "image") == {"type": "string"}
    labels = child(child(pod, "metadata") or {}, "labels")
    assert labels is not None and is_map(labels) and child(labels, "anything") == {"type": "string"} and list_keys(labels) is None


def test_attributes_of_a_reference_win() -> None:
    assert resolve({"$ref": "v1.LabelSelector", "x-kubernetes-map-type": "granular"})["x-kubernetes-map-type"] == "granular"
    assert keeps_unknown({"x-kubernetes-preserve-unknown-fields": True}) and child({"additionalProperties": True}, "x") == {"x-kubernetes-preserve-unknown-fields": True}
    assert child({"x-kubernetes-embedded-resource": True}, "metadata") is not None
