"""Publisher."""

from __future__ import annotations

import logging
from dataclasses import replace

import pytest

from mesh.control import publisher as publisher_module
from mesh.control.metrics import MetricsRegistry
from mesh.control.publisher import Publisher
from mesh.model.node import Node, Role
from mesh.model.secret import Secret, TlsCertificate
from mesh.model.snapshot import EMPTY_SNAPSHOT, Snapshot
from tests.support.world import SYSTEM, Cluster, bookinfo, sidecar_node


def published() -> tuple[Cluster, Publisher, MetricsRegistry]:
    cluster, metrics = Cluster(), MetricsRegistry()
    return cluster, Publisher(cluster.store, metrics, SYSTEM), metrics


def test_nothing_is_served_before_the_first_build() -> None:
    _, publisher, _ = published()
    assert not publisher.ready
    assert publisher.snapshot_for(sidecar_node("x")) is EMPTY_SNAPSHOT
    assert publisher.named_listener(sidecar_node("x"), "a:1") is None


def test_subscribers_hear_of_every_build_until_they_leave() -> None:
    cluster, publisher, _ = published()
    heard: list[str] = []
    leave = publisher.subscribe(lambda: heard.append("built"))
    publisher.rebuild()
    cluster.apply(bookinfo("platform/kube/bookinfo.yaml"))
    publisher.rebuild()
    publisher.rebuild()  # nothing changed
    leave()
    cluster.apply(bookinfo("networking/virtual-service-all-v1.yaml"))
    publisher.rebuild()
    assert heard == ["built", "built"]


def test_snapshots_are_kept_until_something_changes() -> None:
    cluster, publisher, _ = published()
    publisher.rebuild()
    first = publisher.snapshot_for(sidecar_node("x"))
    assert publisher.snapshot_for(sidecar_node("x")) is first
    assert publisher.snapshot_for(sidecar_node("x", app="relabelled")) is not first
    cluster.apply(bookinfo("platform/kube/bookinfo.yaml"))
    publisher.rebuild()
    assert "0.0.0.0_9080" in publisher.snapshot_for(sidecar_node("x")).listeners


def test_grpc_clients_ask_by_name() -> None:
    cluster, publisher, _ = published()
    cluster.apply(bookinfo("platform/kube/bookinfo.yaml"))
    publisher.rebuild()
    found = publisher.named_listener(Node("g", Role.GRPC, "", "", "default"), "reviews:9080")
    assert found is not None and list(found.listeners) == ["reviews:9080"]


def test_problems_are_logged_once_and_counted(caplog: pytest.LogCaptureFixture) -> None:
    cluster, publisher, metrics = published()
    cluster.apply(bookinfo("platform/kube/bookinfo.yaml", "networking/virtual-service-reviews-v3.yaml"))
    with caplog.at_level(logging.INFO, "mesh.control.publisher"):
        publisher.rebuild()
        cluster.apply(bookinfo("platform/kube/bookinfo-versions.yaml"))
        publisher.rebuild()
    assert sum("no DestinationRule defines the subset v3" in record.message for record in caplog.records) == 1
    assert 'pilot_problems{severity="error"} 1' in metrics.text()
    assert 'pilot_push_triggers{type="services"} 2' in metrics.text()


def test_a_nodes_unusable_settings_are_said_once(caplog: pytest.LogCaptureFixture) -> None:
    _, publisher, _ = published()
    publisher.rebuild()
    node = replace(sidecar_node("x"), metadata={"PROXY_CONFIG": {"tracing": {"otlp": "nowhere"}}})
    with caplog.at_level(logging.WARNING, "mesh.control.publisher"):
        publisher.snapshot_for(node)
        publisher.snapshot_for(replace(node, labels={"a": "b"}))
    assert [record.getMessage() for record in caplog.records] == [
        f"{node.id}: PROXY_CONFIG.tracing.otlp: must be host:port, is 'nowhere'; the mesh's settings hold"
    ]


def test_keys_go_to_nodes_with_an_identity_alone(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    secrets = {"kubernetes://shop": Secret("kubernetes://shop", TlsCertificate(b"chain", b"key"))}
    monkeypatch.setattr(publisher_module, "project", lambda graph, node: Snapshot(secrets=secrets))
    _, publisher, _ = published()
    publisher.rebuild()
    stranger = sidecar_node("x")
    known = replace(stranger, has_identity=True)
    with caplog.at_level(logging.WARNING):
        # The same id on two streams: neither is given what was kept for the other.
        found = [publisher.snapshot_for(node).secrets for node in (known, stranger, known, stranger)]
    assert found == [secrets, {}, secrets, {}]
    assert caplog.messages == [
        f"{stranger.id} is not sent the secrets kubernetes://shop: its stream has no identity (port 15012)"
    ]
