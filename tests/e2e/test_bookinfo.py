"""Bookinfo through real sidecars: what a newcomer sees in the first five minutes, checked."""

import json
import secrets
import signal
import subprocess
import urllib.request
from collections import Counter
from typing import Any

import pytest

from mesh.cli import demo, traces
from tests.support.mesh_sandbox import NAMESPACE, SYSTEM, Mesh, until

pytestmark = [pytest.mark.root, pytest.mark.e2e]

# Istio's name stays, whatever promtool thinks of milliseconds (docs/observability.md).
KNOWN = "istio_request_duration_milliseconds use base unit"
# Istio, "Envoy Access Logs": the keys of the default JSON format.
ACCESS_LOG_KEYS = {
    *("start_time", "method", "path", "protocol", "response_code", "response_flags", "response_code_details", "connection_termination_details"),
    *("upstream_transport_failure_reason", "bytes_received", "bytes_sent", "duration", "upstream_service_time", "x_forwarded_for"),
    *("user_agent", "request_id", "authority", "upstream_host", "upstream_cluster", "upstream_local_address", "downstream_local_address"),
    *("downstream_remote_address", "requested_server_name", "route_name"),
}


def test_six_pods_come_up_two_of_two(mesh: Mesh) -> None:
    pods = mesh.await_pods()
    apps = Counter(pod["metadata"]["labels"]["app"] for pod in mesh.kube.list("v1", "Pod", NAMESPACE))
    assert apps == {"details": 1, "productpage": 1, "ratings": 1, "reviews": 3}
    assert set(pods.values()) == {"2/2"}
    shown = mesh.kubectl("get", "pods", "--no-headers", namespace=NAMESPACE).splitlines()
    assert [line.split()[1:4] for line in shown] == [["2/2", "Running", "0"]] * 6


def test_ninety_ten_is_ninety_ten_and_meshctl_says_so(bookinfo: Mesh) -> None:
    mesh = bookinfo
    mesh.apply_file("networking/virtual-service-reviews-90-10.yaml")
    mesh.await_weights("reviews", [90, 10])
    before, rows_before = mesh.answers(), requests_by_version(mesh)
    answers = mesh.client().many(demo.REVIEWS_API, 1200)
    found = demo.split(answers)
    assert found["errors"] == 0
    assert abs(found["v1_percent"] - 90) <= 3, found

    assert {version: row["configured"] for version, row in routes_by_version(mesh).items()} == {"v1": 90.0, "v2": 10.0}
    # The counters go on from whatever an earlier object of this name did.
    measured = requests_by_version(mesh) - rows_before
    assert measured.total() == 1200
    assert abs(100 * measured["v1"] / 1200 - 90) <= 3, measured
    assert all(0 < row["measured"] < 100 for row in routes_by_version(mesh).values())
    assert "VirtualService/default/reviews http[0]" in mesh.meshctl("routes", "reviews")

    # Both ends of an edge count every request once, under the same names.
    counted = mesh.answers() - before
    seen = {(key[0], key[1]): count for key, count in counted.items() if key[2] == "reviews" and key[3:] == ("200", "-")}
    assert seen == {("source", "productpage-v1"): 1200, ("destination", "productpage-v1"): 1200}
    edges = {(row["from"], row["to"]): row for row in mesh.meshctl_json("traffic", "--total")}
    for edge in (("productpage-v1", "reviews-v1"), ("productpage-v1", "reviews-v2"), ("reviews-v2", "ratings-v1")):
        row = edges[edge]
        assert row["success"] == 100.0 and row["requests"] > 0 and 0 < row["p50"] <= row["p95"] <= row["p99"], row
    unknown = mesh.run_meshctl("routes", "reveiws")
    assert unknown.returncode == 1 and "has no service reveiws" in unknown.stderr


def routes_by_version(mesh: Mesh) -> dict[str, dict[str, Any]]:
    """What `meshctl routes` shows of the first rule of the VirtualService for reviews, by subset."""
    rows = [row for row in mesh.meshctl_json("routes", "reviews") if row["origin"] == "VirtualService/default/reviews http[0]"]
    return {row["target"].partition("(")[2].rstrip(")"): row for row in rows}


def requests_by_version(mesh: Mesh) -> Counter[str]:
    return Counter({version: row["requests"] for version, row in routes_by_version(mesh).items()})


def test_jason_is_on_v2_and_others_on_v1(bookinfo: Mesh) -> None:
    mesh = bookinfo
    mesh.apply_file("networking/virtual-service-reviews-test-v2.yaml")
    until(lambda: len(mesh.made_from("VirtualService/default/reviews")) == 2, "productpage has the header route")
    client = mesh.client()
    jason = client.login("jason")
    assert demo.versions(client.many(demo.PAGE, 40, jason)) == {"v2": 40}
    assert demo.versions(client.many(demo.PAGE, 40, client.login("jane"))) == {"v1": 40}
    assert demo.versions(client.many(demo.PAGE, 40)) == {"v1": 40}


def test_one_trace_joins_every_hop(bookinfo: Mesh) -> None:
    mesh = bookinfo
    mesh.apply_file("networking/virtual-service-reviews-v3.yaml")
    until(lambda: mesh.made_from("VirtualService/default/reviews"), "productpage has the route to v3")
    trace_id = secrets.token_hex(16)
    mesh.client().send("GET", demo.PAGE, {"traceparent": f"00-{trace_id}-{secrets.token_hex(8)}-01"})
    hops = [
        ("triomesh-ingressgateway", "client"),
        ("productpage", "server"),
        ("productpage", "client"),
        ("details", "server"),
        ("productpage", "client"),
        ("reviews", "server"),
        ("reviews", "client"),
        ("ratings", "server"),
    ]

    def whole() -> list[traces.Span]:
        spans = [span for trace in traces.fetch(mesh.kube, trace_id) for span in traces.spans(trace)]
        return spans if len(spans) >= len(hops) else []

    spans = until(whole, "the collector has every span")
    assert len(traces.roots(spans)) == 1
    by_id = {span.id: span for span in spans}
    seen = sorted((span.service.partition(".")[0], span.tags["span.kind"]) for span in spans)
    assert seen == sorted(hops)
    edges = sorted((by_id[span.parent].service.partition(".")[0], span.service.partition(".")[0]) for span in spans if span.parent in by_id)
    assert edges == sorted(
        [("triomesh-ingressgateway", "productpage"), ("productpage", "productpage"), ("productpage", "productpage")]
        + [("productpage", "details"), ("productpage", "reviews"), ("reviews", "reviews"), ("reviews", "ratings")]
    )
    tree = mesh.meshctl("traces", trace_id).splitlines()
    assert len(tree) == 1 + len(hops) and tree[1].startswith("triomesh-ingressgateway.triomesh-system  CLIENT")


def test_metrics_of_every_proxy_are_clean(bookinfo: Mesh) -> None:
    mesh = bookinfo
    mesh.client().many(demo.PAGE, 10)
    texts = mesh.metrics()
    assert len(texts) == 7
    for proxy, text in texts.items():
        done = subprocess.run(["promtool", "check", "metrics"], input=text, capture_output=True, text=True, check=False)
        complaints = [line for line in (done.stdout + done.stderr).splitlines() if not line.startswith(KNOWN)]
        assert complaints == [], f"{proxy}: {complaints}"
        assert "istio_requests_total{" in text or proxy.workload.startswith(("ratings", "reviews")), proxy


def test_access_log_has_istios_keys(bookinfo: Mesh) -> None:
    mesh = bookinfo
    mark = secrets.token_hex(8)
    assert mesh.client().send("GET", demo.PAGE, {"user-agent": mark}).status == 200

    def lines() -> list[dict[str, object]]:
        text = mesh.kubectl("logs", "deploy/productpage-v1", "-c", "triomesh-proxy", "--tail=50", namespace=NAMESPACE)
        return [entry for line in text.splitlines() if line.startswith("{") and (entry := json.loads(line)).get("user_agent") == mark]

    inbound = next(entry for entry in until(lines, "the request is in productpage's access log") if entry["path"] == demo.PAGE)
    assert set(inbound) >= ACCESS_LOG_KEYS
    assert (inbound["method"], inbound["response_code"], inbound["response_flags"]) == ("GET", 200, None)
    assert inbound["upstream_cluster"] == "inbound|9080||"
    assert str(inbound["downstream_local_address"]).endswith(":9080")


def test_proxy_status_and_views(bookinfo: Mesh) -> None:
    mesh = bookinfo
    mesh.apply_file("networking/virtual-service-reviews-90-10.yaml")
    mesh.await_weights("reviews", [90, 10])

    def synced() -> bool:
        rows = mesh.meshctl_json("proxy-status")
        return len(rows) == 7 and all(str(row[kind]).startswith("SYNCED") for row in rows for kind in ("cds", "lds", "eds", "rds"))

    until(synced, "every proxy is in sync")
    assert "ERROR" not in mesh.meshctl("proxy-status")
    target = "deploy/productpage-v1"
    assert "outbound|9080|v2|reviews.default.svc.cluster.local" in {cluster["name"] for cluster in mesh.meshctl_json("proxy-config", "clusters", target)}
    assert {"virtualInbound", "virtualOutbound"} <= {listener["name"] for listener in mesh.meshctl_json("proxy-config", "listeners", target)}
    assert "VirtualService/default/reviews http[0]" in mesh.meshctl("proxy-config", "routes", target)
    pod = mesh.pod("app=reviews,version=v2")
    assert f"{pod['status']['podIP']}:9080" in mesh.meshctl("proxy-config", "endpoints", target)
    assert len(json.loads(mesh.meshctl("proxy-config", "all", target))["configs"]) >= 4


def test_a_page_from_inside_goes_through_both_sidecars(bookinfo: Mesh) -> None:
    mesh = bookinfo
    before = mesh.answers()
    page = mesh.cluster.exec("deploy/ratings-v1", ["curl", "-sS", "productpage:9080/productpage"], NAMESPACE, "ratings")
    assert "<title>" in page and "Book Reviews" in page
    counted = mesh.answers() - before
    to_page = {key[:2]: count for key, count in counted.items() if key[2] == "productpage"}
    assert to_page == {("source", "ratings-v1"): 1, ("destination", "ratings-v1"): 1}


def test_logs_follow(bookinfo: Mesh) -> None:
    mesh = bookinfo
    mark = secrets.token_hex(8)
    command = ["kubectl", "--kubeconfig", str(mesh.layout.kubeconfig), "logs", "-f", "--tail=0", "deploy/productpage-v1", "-c", "triomesh-proxy"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as follow:
        assert follow.stdout is not None
        try:
            # --tail=0 starts somewhere near now: ask until the follower is there.
            with mesh.load(rps=5, headers=lambda _number: {"user-agent": mark}):
                line = next(line for line in follow.stdout if mark in line)
        finally:
            follow.send_signal(signal.SIGINT)
    assert json.loads(line)["user_agent"] == mark


def test_port_forward_reaches_an_app_and_an_admin_listener(bookinfo: Mesh) -> None:
    command = ["kubectl", "--kubeconfig", str(bookinfo.layout.kubeconfig), "port-forward", "deploy/productpage-v1", ":9080", ":15000"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as forward:
        assert forward.stdout is not None
        try:
            ports: dict[str, str] = {}
            while len(ports) < 2:
                local, _, remote = forward.stdout.readline().rpartition(" -> ")
                ports[remote.strip()] = local.rpartition(":")[2]
            with urllib.request.urlopen(f"http://127.0.0.1:{ports['9080']}/productpage", timeout=10) as answer:
                assert answer.status == 200
            with urllib.request.urlopen(f"http://127.0.0.1:{ports['15000']}/ready", timeout=10) as answer:
                assert answer.read().strip() == b"LIVE"
        finally:
            forward.terminate()


def test_the_host_reaches_the_gateway_alone(mesh: Mesh) -> None:
    """Without routes the gateway answers for itself, clearly."""
    answer = mesh.client().send("GET", demo.PAGE)
    assert answer.status in (0, 404), answer
    assert mesh.status().state == "up"
    assert {f"{SYSTEM}/triomesh-ingressgateway"} <= set(mesh.status().forwards or {})
