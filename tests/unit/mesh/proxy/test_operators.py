from dataclasses import replace

import pytest

from mesh.model.failure import Flag
from mesh.model.match import RouteMatch
from mesh.model.origin import Origin
from mesh.model.route import DirectResponse, Route, RouteConfig, VirtualHost
from mesh.proxy.match import CompileError
from mesh.proxy.observe.record import Record
from mesh.proxy.observe.trace import TraceContext
from mesh.proxy.operators import parse, text_of
from mesh.proxy.route import RouteTable
from mesh.proxy.tls import security_of
from tests.support.observe import REVIEWS, Answer, head, host, record


def finished() -> Record:
    origin = Origin("VirtualService", "default", "reviews", "http[0]")
    route = Route(RouteMatch(), DirectResponse(200), "jason", origin=origin)
    found = record(head("POST", "/old?q=1", "reviews:9080", user_agent="curl", x_forwarded_for="1.2.3.4"))
    found.route = RouteTable(RouteConfig("r", (VirtualHost("v", ("*",), (route,)),))).find(found.head)
    found.cluster = replace(REVIEWS, origin=Origin("DestinationRule", "default", "dr"))
    found.host = host("10.0.0.2:9080")
    found.status, found.details = 503, "via_upstream"
    found.flags = (Flag.DELAY_INJECTED, Flag.UPSTREAM_CONNECTION_TERMINATION)
    found.request_id, found.upstream_path = b"id-1", b"/new?q=1"
    found.response = Answer(content_type="text/html")
    found.trailers = Answer(grpc_status="14")
    found.bytes_received, found.bytes_sent, found.attempts, found.grpc_status = 3, 4, 2, 14
    found.request_done_at, found.upstream_started_at, found.response_started_at = 100.001, 100.002, 100.01
    found.finished_at = 100.0205
    found.upstream_local = "10.0.0.1:50000"
    found.trace = TraceContext(b"a" * 32, b"b" * 16, b"", True)
    return found


def evaluate(text: str, item: Record) -> str:
    return "".join(part if isinstance(part, str) else text_of(part(item)) for part in parse(text, "f"))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("%REQ(:METHOD)% %REQ(:PATH)% %PROTOCOL%", "POST /new?q=1 HTTP/1.1"),
        ("%REQ(X-ENVOY-ORIGINAL-PATH?:PATH)%", "/old?q=1"),
        ("%REQ(:AUTHORITY)% %REQ(:SCHEME)% %REQ(Host)%", "reviews:9080 http reviews:9080"),
        ("%REQ(User-Agent)% %REQ(nope)% %REQ(nope?user-agent)%", "curl - curl"),
        ("%REQ(user-agent):2%", "cu"),
        ("%REQ(x-request-id)%", "id-1"),
        ("%RESPONSE_CODE% %RESPONSE_FLAGS% %RESPONSE_CODE_DETAILS%", "503 DI,UC via_upstream"),
        ("%RESP(content-type)% %RESP(:STATUS)% %RESP(nope)%", "text/html 503 -"),
        ("%RESP(X-ENVOY-UPSTREAM-SERVICE-TIME)%", "8"),
        ("%TRAILER(grpc-status)%", "14"),
        ("%GRPC_STATUS% %GRPC_STATUS_NUMBER%", "Unavailable 14"),
        ("%BYTES_RECEIVED%/%BYTES_SENT%", "3/4"),
        ("%DURATION% %REQUEST_DURATION% %RESPONSE_DURATION%", "20 1 10"),
        ("%UPSTREAM_HOST% %UPSTREAM_CLUSTER_RAW%", f"10.0.0.2:9080 {REVIEWS.name}"),
        ("%UPSTREAM_LOCAL_ADDRESS% %UPSTREAM_REQUEST_ATTEMPT_COUNT%", "10.0.0.1:50000 2"),
        ("%DOWNSTREAM_REMOTE_ADDRESS% %DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%", "10.0.0.9:40000 10.0.0.9"),
        ("%DOWNSTREAM_LOCAL_ADDRESS% %DOWNSTREAM_LOCAL_PORT%", "10.0.0.1:9080 9080"),
        ("%REQUESTED_SERVER_NAME% %CONNECTION_TERMINATION_DETAILS%", "- -"),
        ("%ROUTE_NAME% %TRACE_ID%", f"jason {'a' * 32}"),
        ("%METADATA(ROUTE:triomesh.io)%", "VirtualService/default/reviews http[0]"),
        ("%METADATA(ROUTE:triomesh.io:rule)% %METADATA(CLUSTER:triomesh.io:kind)%", "http[0] DestinationRule"),
        ("100%% sure", "100% sure"),
    ],
)
def test_operators(text: str, expected: str) -> None:
    assert evaluate(text, finished()) == expected


def test_an_ipv6_address_without_port() -> None:
    item = finished()
    item.connection = replace(item.connection, remote="[::1]:4")
    assert evaluate("%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%", item) == "::1"


def test_what_is_not_known_is_a_dash() -> None:
    item = record()
    text = "%UPSTREAM_HOST% %UPSTREAM_CLUSTER% %ROUTE_NAME% %TRACE_ID% %GRPC_STATUS% %METADATA(ROUTE:triomesh.io)% %RESP(x)%"
    assert evaluate(text, item) == "- - - - - - -"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("%NOPE%", "unknown command operator %NOPE%"),
        ("%REQ%", "needs a header name"),
        ("%PROTOCOL(x)%", "takes no argument"),
        ("%ENVIRONMENT(HOME)%", "not supported"),
        ("%METADATA(ROUTE:other)%", "no metadata that is kept"),
        ("50%", "percent sign"),
    ],
)
def test_formats_that_cannot_be_evaluated_are_refused(text: str, words: str) -> None:
    with pytest.raises(CompileError, match=f"^the field: .*{words}"):
        parse(text, "the field")


def test_who_was_there() -> None:
    item = finished()
    names = ("DOWNSTREAM_PEER_URI_SAN", "DOWNSTREAM_LOCAL_URI_SAN", "DOWNSTREAM_TLS_VERSION")
    names += ("UPSTREAM_PEER_URI_SAN", "UPSTREAM_LOCAL_URI_SAN", "UPSTREAM_TLS_VERSION")
    text = " ".join(f"%{name}%" for name in names)
    assert evaluate(text, item) == "- - - - - -"
    item.connection = replace(
        item.connection, peer_principal="spiffe://a", local_principal="spiffe://b", tls_version="TLSv1.3"
    )
    item.upstream_security = security_of("spiffe://c", "spiffe://b", "TLSv1.2")
    assert evaluate(text, item) == "spiffe://a spiffe://b TLSv1.3 spiffe://c spiffe://b TLSv1.2"
