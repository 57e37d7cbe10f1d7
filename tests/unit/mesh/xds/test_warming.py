from mesh.model.endpoint import LoadAssignment
from mesh.model.route import RouteConfig
from mesh.model.secret import Secret
from mesh.model.snapshot import Snapshot
from mesh.xds.kind import Kind
from mesh.xds.references import references
from mesh.xds.warming import Accepted, Warmer
from tests.support.xds_wire import assignment, cluster, http_listener, route_config


def accepted(*values):
    groups = {kind: {} for kind in Kind}
    for value in values:
        kind = {
            "Cluster": Kind.CLUSTER,
            "LoadAssignment": Kind.ENDPOINT,
            "Listener": Kind.LISTENER,
            "RouteConfig": Kind.ROUTE,
            "Secret": Kind.SECRET,
        }[type(value).__name__]
        name = value.cluster_name if isinstance(value, LoadAssignment) else value.name
        groups[kind][name] = Accepted(value, "1", b"", references(value))
    return groups


def test_cold_cluster_stays_out():
    snapshot, missing = Warmer().warm(accepted(cluster("c")), set())
    assert snapshot == Snapshot()
    assert missing == {(Kind.ENDPOINT, "c")}


def test_warm_cluster_comes_with_its_endpoints():
    snapshot, missing = Warmer().warm(accepted(cluster("c"), assignment("c")), set())
    assert snapshot == Snapshot({"c": cluster("c")}, {"c": assignment("c")})
    assert missing == set()


def test_listener_keeps_its_last_warm_version_while_the_new_one_waits():
    warmer = Warmer()
    warmer.warm(accepted(http_listener("l", "old"), route_config("old")), set())
    both = accepted(http_listener("l", "new"), route_config("old"))
    snapshot, missing = warmer.warm(both, set())
    assert snapshot.listeners == {"l": http_listener("l", "old")}
    assert set(snapshot.routes) == {"old"}
    assert missing == {(Kind.ROUTE, "new")}
    assert warmer.needed(both) == {(Kind.ROUTE, "new"), (Kind.ROUTE, "old")}


def test_what_does_not_exist_counts_as_empty():
    held = accepted(http_listener("l", "r"), cluster("c"))
    snapshot, missing = Warmer().warm(held, {(Kind.ROUTE, "r"), (Kind.ENDPOINT, "c")})
    assert snapshot.routes == {"r": RouteConfig("r")}
    assert snapshot.endpoints == {"c": LoadAssignment("c")}
    assert missing == set()


def test_removed_listener_is_gone_even_if_it_was_warm():
    warmer = Warmer()
    warmer.warm(accepted(http_listener("l", "r"), route_config("r")), set())
    assert warmer.warm(accepted(route_config("r")), set())[0] == Snapshot()


def test_unneeded_resources_are_not_in_force():
    assert Warmer().warm(accepted(route_config("r"), Secret("s")), set())[0] == Snapshot()
