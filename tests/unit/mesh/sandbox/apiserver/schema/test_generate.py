from __future__ import annotations

from mesh.sandbox.apiserver.schema.generate import reach, short, simplify


def test_names_are_shortened() -> None:
    names = ["io.k8s.api.core.v1.Pod", "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta", "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.JSON"]
    assert [short(n) for n in names] == ["core.v1.Pod", "v1.ObjectMeta", "apiextensions.v1.JSON"]


def test_facts_are_kept_and_prose_is_not() -> None:
    node = {"description": "text", "type": ["array", "null"], "items": {"$ref": "#/$defs/io.k8s.api.core.v1.EnvVar"}, "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"]}
    assert simplify(node) == {"type": "array", "items": {"$ref": "core.v1.EnvVar"}, "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"]}
    assert simplify({"$ref": "#/$defs/io.k8s.apimachinery.pkg.apis.meta.v1.Time"}) == {"type": "string", "format": "date-time"}


def test_only_what_is_reached_is_taken() -> None:
    definitions = {"a.v1.A": {"properties": {"b": {"$ref": "#/$defs/io.k8s.api.a.v1.B"}}}, "a.v1.B": {"type": "object"}, "a.v1.C": {}}
    out: dict[str, object] = {}
    reach("a.v1.A", definitions, out)
    assert set(out) == {"a.v1.A", "a.v1.B"}
