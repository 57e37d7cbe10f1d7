from __future__ import annotations

from dataclasses import replace

from mesh.sandbox.apiserver.convert import from_storage, storage_api_version, to_storage
from mesh.sandbox.apiserver.kinds import builtin
from mesh.sandbox.apiserver.registry import Resource

NEW_EVENTS = next(r for r in builtin() if r.group == "events.k8s.io")


def test_event_goes_back_and_forth() -> None:
    new = {"apiVersion": "events.k8s.io/v1", "kind": "Event", "metadata": {}, "note": "n", "regarding": {"name": "p"}, "reportingController": "c", "reason": "r"}
    stored = to_storage(new, NEW_EVENTS)
    assert stored == {"apiVersion": "v1", "kind": "Event", "metadata": {}, "message": "n", "involvedObject": {"name": "p"}, "reportingComponent": "c", "reason": "r"}
    assert from_storage(stored, NEW_EVENTS) == new


def test_custom_versions_differ_in_api_version_only() -> None:
    old = Resource("example.com", "v1beta1", "gadgets", "Gadget", True, storage_key="gadgets.example.com", storage_version="v1", custom=True)
    assert storage_api_version(old) == "example.com/v1"
    assert to_storage({"apiVersion": "example.com/v1beta1", "spec": 1}, old) == {"apiVersion": "example.com/v1", "spec": 1}
    same = replace(old, version="v1")
    obj = {"apiVersion": "example.com/v1"}
    assert from_storage(obj, same) is obj
