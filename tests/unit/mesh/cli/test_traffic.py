"""Edges and routes out of counts."""

from mesh.cli.metrics import Stats
from mesh.cli.traffic import edge_rows, edges, routes, shares, since

EDGE = ("productpage-v1", "default", "reviews-v2", "default", "reviews")


def test_edges_without_requests_in_the_window_are_left_out():
    before, now = {EDGE: Stats(5, 0, {})}, {EDGE: Stats(5, 0, {}), ("a", "b", "c", "d", "e"): Stats(2, 0, {})}
    assert list(since(now, before)) == [("a", "b", "c", "d", "e")]


def test_an_edge_to_no_known_workload_shows_the_service():
    rows = edge_rows({("gw", "triomesh-system", "unknown", "unknown", "reviews"): Stats(4, 1, {})}, 2.0)
    assert (rows[0]["from"], rows[0]["to"], rows[0]["rps"], rows[0]["success"]) == ("gw.triomesh-system", "reviews", 2.0, 75.0)


def test_a_namespace_shows_edges_that_touch_it():
    groups = {EDGE: Stats(1, 0, {}), ("a", "other", "b", "other", "b"): Stats(1, 0, {})}
    assert [row["to"] for row in edge_rows(groups, 1.0, "default")] == ["reviews-v2"]


def counted(reporter: str, policy: str, count: int) -> str:
    ends = "".join(f'{end}_workload="{name}",{end}_workload_namespace="default",' for end, name in (("source", "a"), ("destination", "b")))
    return f'istio_requests_total{{reporter="{reporter}",{ends}destination_service_name="b",response_code="200",connection_security_policy="{policy}"}} {count}\n'


def test_servers_say_which_share_came_over_mutual_tls():
    head = "# TYPE istio_requests_total counter\n"
    client, server = head + counted("source", "unknown", 8), head + counted("destination", "mutual_tls", 6) + counted("destination", "none", 2)
    assert [(row["to"], row["requests"], row["mtls"]) for row in edge_rows(edges(iter([client, server])), 1.0)] == [("b.default", 8, 75.0)]
    assert [row["mtls"] for row in edge_rows(edges([client]), 1.0)] == [None]


def test_latencies_of_routes_are_read_from_seconds():
    labels = 'virtual_host="h",origin="VS a",cluster="c1"'
    name = "triomesh_route_request_duration_seconds"
    lines = [f'triomesh_route_requests_total{{{labels},response_code="200"}} 10', *(f'{name}_bucket{{{labels},le="{le}"}} {count}' for le, count in (("0.01", 5), ("0.02", 10), ("+Inf", 10)))]
    text = "\n".join(["# TYPE triomesh_route_requests_total counter", lines[0], f"# TYPE {name} histogram", *lines[1:], ""])
    stats = routes([text])["h", "VS a", "c1"]
    assert (stats.requests, stats.quantile(0.5), stats.quantile(0.95)) == (10, 10.0, 19.0)


def test_shares_are_counted_per_rule_and_edit():
    groups = {("h", "VS a", "1", "c1"): Stats(9, 0, {}), ("h", "VS a", "1", "c2"): Stats(1, 0, {}), ("h", "VS a", "2", "c1"): Stats(5, 0, {})}
    assert shares(groups) == {("h", "VS a", "1"): {"c1": 9, "c2": 1}, ("h", "VS a", "2"): {"c1": 5}}
