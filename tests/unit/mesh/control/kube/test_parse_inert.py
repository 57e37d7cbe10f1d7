"""Objects without effect become Problems."""

from __future__ import annotations

from typing import Any

from mesh.control.kube import kinds
from mesh.control.kube.world import WorldStore
from mesh.model.origin import ObjectRef, Problem, Severity


def problems(group: str, kind: str, spec: Any) -> tuple[Problem, ...]:
    item = {"apiVersion": f"{group}/v1", "kind": kind, "metadata": {"name": "x", "namespace": "shop"}, "spec": spec}
    found = kinds.kind_of(item)
    assert found is not None
    store = WorldStore()
    store.put(found, item)
    return store.take()[0].problems()


def test_a_deny_all_policy_is_an_error_on_the_object() -> None:
    (problem,) = problems("security.istio.io", "AuthorizationPolicy", {})
    assert problem.ref == ObjectRef("AuthorizationPolicy", "shop", "x", "security.istio.io")
    assert (problem.field, problem.reason, problem.severity) == ("", "NotSupported", Severity.ERROR)
    assert "every request is let through" in problem.message


def test_what_guards_nothing_is_a_warning() -> None:
    (problem,) = problems("telemetry.istio.io", "Telemetry", {})
    assert (problem.reason, problem.severity) == ("NotSupported", Severity.WARNING)
