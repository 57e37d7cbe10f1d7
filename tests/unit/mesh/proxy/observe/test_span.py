from dataclasses import replace

import pytest

from mesh.model.failure import Flag
from mesh.model.listener import Direction, Tracing
from mesh.model.match import RouteMatch
from mesh.model.origin import Origin
from mesh.model.route import DirectResponse, Route, RouteConfig, VirtualHost
from mesh.proxy.match import CompileError
from mesh.proxy.observe.clock import WALL
from mesh.proxy.observe.peer import peer_of_metadata
from mesh.proxy.observe.record import Record
from mesh.proxy.observe.span import SpanFactory, SpanKind
from mesh.proxy.observe.trace import TraceContext
from mesh.proxy.route import RouteTable
from tests.support.observe import REVIEWS, head, host, record

METADATA = {"WORKLOAD_NAME": "productpage-v1", "NAMESPACE": "default", "MESH_ID": "mesh1", "LABELS": {"app": "productpage", "version": "v1"}}
LOCAL = peer_of_metadata(METADATA)


def factory(direction: Direction = Direction.OUTBOUND, **fields: object) -> SpanFactory:
    return SpanFactory(Tracing(**fields), direction, "sidecar~1~a~b", LOCAL, METADATA)  # type: ignore[arg-type]


def finished(operation: str = "reviews:9080/*") -> Record:
    origin = Origin("VirtualService", "default", "reviews", "http[0]")
    route = Route(RouteMatch(), DirectResponse(200), "jason", origin=origin, operation=operation)
    item = record(head("GET", "/reviews/0", "reviews:9080", user_agent="curl", tracestate="a=b"))
    item.route = RouteTable(RouteConfig("r", (VirtualHost("v", ("*",), (route,)),))).find(item.head)
    item.trace = TraceContext(b"a" * 32, b"b" * 16, b"c" * 16, True)
    item.status, item.request_id, item.attempts, item.finished_at = 200, b"id-1", 2, 100.5
    item.cluster, item.host = REVIEWS, host("10.0.0.2:9080")
    return item


@pytest.fixture(autouse=True)
def fixed_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(WALL, "offset", 1_700_000_000.0 - 100.0)


def test_a_client_span() -> None:
    span = factory().make(finished())
    assert (span.service, span.name, span.kind) == ("productpage.default", "reviews:9080/*", SpanKind.CLIENT)
    assert (span.trace_id, span.span_id, span.parent_id, span.trace_state) == (b"a" * 32, b"b" * 16, b"c" * 16, "a=b")
    assert (span.start_ns, span.end_ns, span.is_error) == (1_700_000_000_000_000_000, 1_700_000_000_500_000_000, False)
    assert dict(span.attributes) == {
        "component": "proxy",
        "node_id": "sidecar~1~a~b",
        "istio.canonical_service": "productpage",
        "istio.canonical_revision": "v1",
        "istio.mesh_id": "mesh1",
        "istio.namespace": "default",
        "istio.cluster_id": "unknown",
        "guid:x-request-id": "id-1",
        "http.url": "http://reviews:9080/reviews/0",
        "http.method": "GET",
        "http.protocol": "HTTP/1.1",
        "http.status_code": "200",
        "user_agent": "curl",
        "request_size": "0",
        "response_size": "0",
        "response_flags": "-",
        "downstream_cluster": "-",
        "peer.address": "10.0.0.9",
        "triomesh.attempts": 2,
        "upstream_cluster": REVIEWS.name,
        "upstream_cluster.name": REVIEWS.name,
        "upstream_address": "10.0.0.2:9080",
        "triomesh.origin": "VirtualService/default/reviews http[0]",
        "triomesh.route": "jason",
    }


def test_a_server_span() -> None:
    item = finished()
    item.peer = LOCAL
    span = factory(Direction.INBOUND).make(item)
    assert span.kind is SpanKind.SERVER
    assert dict(span.attributes)["downstream_cluster"] == "productpage-v1"


@pytest.mark.parametrize(("status", "grpc_status", "expected"), [(200, -1, False), (404, -1, False), (500, -1, True), (0, -1, True), (200, 14, True)])
def test_errors_are_marked(status: int, grpc_status: int, expected: bool) -> None:
    item = finished()
    item.status, item.grpc_status, item.flags = status, grpc_status, (Flag.UPSTREAM_CONNECT_FAILURE,)
    span = factory().make(item)
    assert (span.is_error, dict(span.attributes).get("error", False)) == (expected, expected)
    assert dict(span.attributes)["response_flags"] == "UF"


def test_without_an_operation_the_service_names_the_span_never_the_path() -> None:
    item = finished(operation="")
    assert factory().make(item).name == "reviews.default.svc.cluster.local:9080/*"
    item.cluster = replace(REVIEWS, service=None)
    assert factory().make(item).name == "GET"


def test_custom_tags_and_names() -> None:
    span = factory(service_name="mine", custom_tags=(("env", "prod"), ("ua", "<%REQ(user-agent)%>"))).make(finished())
    assert span.service == "mine"
    assert (dict(span.attributes)["env"], dict(span.attributes)["ua"]) == ("prod", "<curl>")


def test_long_urls_are_cut() -> None:
    item = finished()
    item.head = head("GET", "/" + "x" * 5_000, "h")
    assert len(str(dict(factory().make(item).attributes)["http.url"])) == 256


def test_a_bad_tag_is_refused() -> None:
    with pytest.raises(CompileError, match="custom tag env"):
        factory(custom_tags=(("env", "%NOPE%"),))
