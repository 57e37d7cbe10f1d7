from __future__ import annotations

from types import SimpleNamespace

import pytest

from mesh.control.csds import Csds
from mesh.model.node import Node, Role
from mesh.xds.client_status import response_as_dict, write_query
from mesh.xds.error import ProtocolError
from mesh.xds.kind import Kind
from mesh.xds.node import write_node
from mesh.xds.resource_status import ResourceStatus
from mesh.xds.subscription import Status


def connection(node_id: str, version: str):
    node = Node(node_id, Role.SIDECAR, "", "", "")
    line = ResourceStatus(Kind.CLUSTER, "c", version, Status.SYNCED, 1.0)
    stream = SimpleNamespace(node_body=write_node(node).SerializeToString())
    return SimpleNamespace(node=node, stream=stream, status=lambda with_bodies: [line])


def versions(csds: Csds, *node_ids: str) -> dict[str, str]:
    configs = response_as_dict(csds.answer(write_query(node_ids))).get("config", [])
    return {config["node"]["id"]: config["genericXdsConfigs"][0]["versionInfo"] for config in configs}


def test_every_node_is_listed_once_by_its_newest_stream():
    csds = Csds(lambda: [connection("a", "new"), connection("b", "1"), connection("a", "old")])
    assert versions(csds) == {"a": "new", "b": "1"}


def test_the_filter_selects_nodes():
    assert versions(Csds(lambda: [connection("a", "1"), connection("b", "1")]), "b") == {"b": "1"}


def test_nobody_connected_is_an_empty_answer():
    assert versions(Csds(list)) == {}


def test_a_bad_query_is_refused():
    with pytest.raises(ProtocolError):
        Csds(list).answer(b"\xff")
