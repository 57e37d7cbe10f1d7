"""World to Graph."""

from __future__ import annotations

from mesh.control.kube import kinds
from mesh.control.translate.build import build
from tests.support.world import SYSTEM, Cluster, bookinfo


def test_mesh_config_is_the_system_namespaces() -> None:
    cluster = Cluster()
    text = (
        "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: triomesh, namespace: %s}\ndata: {mesh: 'connectTimeout: %s'}"
    )
    cluster.apply(text % ("default", "1s"))
    assert cluster.graph().config.connect_timeout_seconds == 10.0
    cluster.apply(text % (SYSTEM, "3s"))
    assert cluster.graph().config.connect_timeout_seconds == 3.0


def test_a_mistake_in_mesh_config_is_a_problem_and_costs_itself_only() -> None:
    cluster = Cluster()
    cluster.apply(
        f"apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: triomesh, namespace: {SYSTEM}}}\n"
        "data: {mesh: '{connectTimeout: soon, accessLogFile: \"\"}'}"
    )
    graph = cluster.graph()
    assert graph.config.proxy.access_log_path == ""
    assert [(p.ref.kind, p.field) for p in graph.problems()] == [("ConfigMap", "mesh.connectTimeout")]


def test_endpoint_changes_keep_the_rest_of_the_graph() -> None:
    cluster = Cluster()
    cluster.apply(bookinfo("platform/kube/bookinfo.yaml"))
    world, _ = cluster.store.take()
    before = build(world)
    cluster.store.put(kinds.POD, cluster.pod("new", {"app": "reviews"}))
    world, changes = cluster.store.take()
    after = build(world, before, changes)
    assert after.bindings is before.bindings
    assert after.clusters is before.clusters
    assert after.world is world


def test_other_changes_resolve_everything_anew() -> None:
    cluster = Cluster()
    cluster.apply(bookinfo("platform/kube/bookinfo.yaml"))
    before = cluster.graph()
    cluster.apply(bookinfo("networking/virtual-service-all-v1.yaml"))
    world, changes = cluster.store.take()
    after = build(world, before, changes)
    assert after.bindings is not before.bindings
    assert len(after.bindings.virtual_services) == 4
