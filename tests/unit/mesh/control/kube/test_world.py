"""WorldStore: what counts as a change, and that nothing is torn."""

from __future__ import annotations

import logging
from typing import Any

import pytest

from mesh.control.kube import kinds
from mesh.control.kube.world import WorldStore
from mesh.model.origin import ObjectRef

REF = ObjectRef("VirtualService", "default", "a", "networking.istio.io")


def item(name: str = "a", version: str = "1", **more: Any) -> dict[str, Any]:
    metadata = {"name": name, "namespace": "default", "resourceVersion": version}
    return {
        "metadata": metadata,
        "spec": {"hosts": ["a"], "http": [{"route": [{"destination": {"host": "a"}}]}]},
        **more,
    }


def test_a_status_write_is_no_change_but_is_remembered() -> None:
    store = WorldStore()
    assert store.put(kinds.VIRTUAL_SERVICE, item())
    store.take()
    assert not store.put(kinds.VIRTUAL_SERVICE, item(version="2", status={"x": 1}))
    assert not store.pending()
    assert store.status(REF) == ("2", {"x": 1})


def test_replace_removes_what_a_list_lacks() -> None:
    store = WorldStore()
    store.replace(kinds.VIRTUAL_SERVICE, [item("a"), item("b")])
    store.take()
    assert store.replace(kinds.VIRTUAL_SERVICE, [item("b"), item("c")]) == 2
    world, changes = store.take()
    assert list(world.virtual_services) == [("default", "b"), ("default", "c")]
    assert changes.has_deletion


def test_worlds_taken_before_are_not_touched() -> None:
    store = WorldStore()
    store.put(kinds.VIRTUAL_SERVICE, item("a"))
    before, _ = store.take()
    store.put(kinds.VIRTUAL_SERVICE, item("b"))
    after, _ = store.take()
    assert (len(before.virtual_services), len(after.virtual_services)) == (1, 2)


def test_only_endpoint_kinds_make_an_endpoint_change() -> None:
    store = WorldStore()
    store.put(kinds.POD, {"metadata": {"name": "p", "namespace": "n"}})
    assert store.pending().endpoints_only
    store.put(kinds.SERVICE, {"metadata": {"name": "s", "namespace": "n"}, "spec": {}})
    assert not store.pending().endpoints_only


def test_crds_change_no_configuration() -> None:
    store = WorldStore()
    store.put(kinds.CRD, {"metadata": {"name": "x"}, "spec": {}})
    assert not store.pending()


def test_an_object_that_breaks_its_parser_becomes_a_problem(caplog: pytest.LogCaptureFixture) -> None:
    store = WorldStore()
    store.put(kinds.POD, {"metadata": {"name": "good", "namespace": "n"}})
    with caplog.at_level(logging.ERROR):
        store.put(kinds.POD, {"metadata": {"name": "bad", "namespace": "n"}, "spec": {"containers": [3]}})
    world, changes = store.take()
    assert list(world.pods) == [("n", "good")]
    assert [(problem.ref.name, problem.reason) for problem in world.problems()] == [("bad", "Malformed")]
    assert changes
    store.put(kinds.POD, {"metadata": {"name": "bad", "namespace": "n"}})
    assert store.take()[0].problems() == ()
