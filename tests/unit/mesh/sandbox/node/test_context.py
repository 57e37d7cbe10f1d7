"""What pods may look up on their node."""

import base64
from types import SimpleNamespace
from typing import Any

from mesh.sandbox.informer import Informer
from mesh.sandbox.kubeclient import CONFIGMAPS, SECRETS
from mesh.sandbox.node.context import NodeContext
from mesh.sandbox.node.podspec import Facts

Json = dict[str, Any]


def encoded(data: bytes) -> str:
    return base64.b64encode(data).decode()


def context() -> NodeContext:
    maps, hidden = Informer(None, CONFIGMAPS), Informer(None, SECRETS)  # type: ignore[arg-type]
    meta = {"namespace": "ns", "name": "x", "uid": "u", "resourceVersion": "1"}
    maps.put({"metadata": meta, "data": {"text": "plain"}, "binaryData": {"raw": encoded(b"\xff")}})
    maps.put({"metadata": {**meta, "name": "empty", "uid": "v"}})
    hidden.put({"metadata": meta, "data": {"password": encoded(b"secret")}})
    rest: Any = SimpleNamespace()
    return NodeContext(rest, "node", "198.18.0.1", 2, 1 << 30, rest, rest, rest, rest, rest, rest, rest, maps, hidden, {}, rest, lambda: 0.0)


def test_config_maps_and_secrets_are_decoded() -> None:
    here = context()
    assert here.lookup("ns", "ConfigMap", "x") == {"text": "plain", "raw": b"\xff"}
    assert here.lookup("ns", "Secret", "x") == {"password": b"secret"}
    assert here.lookup("ns", "ConfigMap", "empty") == {}


def test_what_is_not_there_or_in_another_namespace_is_none() -> None:
    here = context()
    assert [here.lookup("ns", "Secret", "none"), here.lookup("other", "ConfigMap", "x")] == [None, None]


def test_facts_are_the_nodes_with_the_pods_address() -> None:
    assert context().facts("198.18.1.5") == Facts("198.18.1.5", "198.18.0.1", "node", 2, 1 << 30)
