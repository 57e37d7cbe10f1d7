from __future__ import annotations

from mesh.sandbox.apiserver.kinds import builtin
from mesh.sandbox.apiserver.registry import Registry, Resource, dig


def test_find_and_replace() -> None:
    registry = Registry(builtin())
    deployments = registry.find("apps", "v1", "deployments")
    assert deployments is not None and (deployments.api_version, deployments.key) == ("apps/v1", "deployments.apps")
    assert registry.by_kind("v1", "Pod") is registry.find("", "v1", "pods")
    assert [r.api_version for r in registry.versions("events")] == ["v1", "events.k8s.io/v1"]
    before = registry.generation
    row = Resource("example.com", "v1", "gadgets", "Gadget", True)
    registry.replace(row.key, [row])
    assert registry.find("example.com", "v1", "gadgets") is row and registry.generation > before
    registry.replace(row.key, [])
    assert registry.find("example.com", "v1", "gadgets") is None


def test_dig() -> None:
    assert dig({"a": {"b": 0}}, ".a.b") == 0 and dig({"a": 1}, ".a.b") is None and dig({}, ".a") is None
