from __future__ import annotations

from dataclasses import replace

import pytest

from mesh.codec.h1 import RequestHead
from mesh.model.failure import Flag
from mesh.model.listener import Direction, HttpManager
from mesh.model.match import RouteMatch
from mesh.model.route import ForwardAction, Route, RouteConfig, VirtualHost, WeightedCluster
from mesh.proxy.balance.host import Host
from mesh.proxy.observe.digits import Digits
from mesh.proxy.observe.http import HttpObserver, grpc_status
from mesh.proxy.observe.istio import RequestLabels, message_group, request_group, route_group
from mesh.proxy.observe.metrics import Registry
from mesh.proxy.observe.peer import PeerCache, encode_headers, peer_of_metadata
from mesh.proxy.observe.record import Record
from mesh.proxy.observe.span import Span
from mesh.proxy.observe.trace import Sampler
from mesh.proxy.route import RouteTable
from tests.support.observe import REVIEWS, REVIEWS_V1, Answer, head, host, record

METADATA = {"WORKLOAD_NAME": "me", "NAMESPACE": "ns", "LABELS": {"app": "me"}}
PEER_LINES = encode_headers("sidecar~1~me~ns", METADATA)


class Bench:
    """An observer with everything around it visible."""

    def __init__(
        self, direction: Direction = Direction.OUTBOUND, *, share: float = 0.0, max_series: int = 500, **manager: object
    ) -> None:
        self.registry = Registry()
        self.spans: list[Span] = []
        digits = Digits(lambda bits: int("a" * (bits // 4), 16))
        self.observer = HttpObserver(
            HttpManager("test", **manager),  # type: ignore[arg-type]
            direction,
            requests=self.registry.add(request_group(max_series)),
            messages=self.registry.add(message_group()),
            routes=self.registry.add(route_group()),
            labels=RequestLabels(peer_of_metadata(METADATA), is_inbound=direction is Direction.INBOUND),
            peers=PeerCache(),
            peer_lines=PEER_LINES,
            sampler=Sampler(share, lambda: 0.0, digits),
            spans=None,
            export=self.spans.append,
            loggers=(),
            digits=digits,
        )

    def serve(self, request: RequestHead | None = None, to: Host | None = None, status: int = 200, seconds: float = 0.01) -> Record:
        item = record(request)
        self.observer.begin(item)
        item.cluster, item.host, item.status = REVIEWS, to, status
        self.observer.end(item, item.started_at + seconds)
        return item

    def value(self, name: str, *parts: str) -> float:
        """The sum of the samples of that name whose labels have all the parts."""
        lines = self.registry.expose(200.0).decode().splitlines()
        return sum(float(line.rpartition(" ")[2]) for line in lines if line.startswith(name + "{") and all(part in line for part in parts))


MADE_ID = b"aaaaaaaa-aaaa-4aaa-aaaa-aaaaaaaaaaaa"


def test_a_request_id_is_made_when_there_is_none() -> None:
    assert Bench().serve().request_id == MADE_ID
    assert Bench().serve(head("GET", "/", "h", x_request_id="mine")).request_id == b"mine"


def test_the_edge_makes_its_own_request_ids_unless_told_to_keep_them() -> None:
    request = head("GET", "/", "h", x_request_id="theirs")
    assert Bench(use_remote_address=True).serve(request).request_id == MADE_ID
    assert Bench(use_remote_address=True, preserve_request_id=True).serve(request).request_id == b"theirs"


def test_ids_need_not_be_made() -> None:
    assert Bench(generate_request_id=False).serve().request_id == b""
    assert Bench(generate_request_id=False).serve(head("GET", "/", "h", x_request_id="a")).request_id == b"a"


def test_metadata_goes_to_meshed_hosts_only() -> None:
    bench, item = Bench(), record()
    bench.observer.begin(item)
    item.host = host(is_meshed=False)
    assert b"x-envoy-peer-metadata" not in bench.observer.lines(item)
    item.host = host(is_meshed=True)
    assert bench.observer.lines(item).endswith(PEER_LINES)


def test_what_a_client_claims_is_read_inbound_and_never_passed_on() -> None:
    bench = Bench(Direction.INBOUND)
    value = PEER_LINES.decode().split("x-envoy-peer-metadata: ")[1].strip()
    item = bench.serve(head("GET", "/", "h", x_envoy_peer_metadata=value))
    assert item.peer is not None and item.peer.workload == "me"
    assert {b"x-envoy-peer-metadata", b"x-envoy-peer-metadata-id"} <= set(bench.observer.removals(item))
    item.host = host(is_meshed=True)
    assert b"peer-metadata" not in bench.observer.lines(item)


def test_a_new_context_replaces_the_old_headers() -> None:
    bench, item = Bench(share=1.0), record(head("GET", "/", "h", b3=f"{'1' * 32}-{'2' * 16}-1"))
    bench.observer.begin(item)
    assert {b"b3", b"traceparent", b"x-b3-traceid"} <= set(bench.observer.removals(item))
    assert b"traceparent: 00-" + b"1" * 32 in bench.observer.lines(item)


def test_an_unsampled_callers_context_stays() -> None:
    bench, item = Bench(), record(head("GET", "/", "h", traceparent=f"00-{'1' * 32}-{'2' * 16}-00"))
    bench.observer.begin(item)
    assert b"traceparent" not in bench.observer.removals(item)
    assert b"traceparent" not in bench.observer.lines(item)


def test_requests_are_counted_by_outcome() -> None:
    bench, one, other = Bench(), host("10.0.0.2:1", workload=REVIEWS_V1), host("10.0.0.3:1")
    for _ in range(3):
        bench.serve(to=one)
    bench.serve(to=one, status=503)
    bench.serve(to=other)
    bench.serve(to=None, status=503)
    assert bench.value("istio_requests_total") == 6
    assert bench.value("istio_requests_total", 'destination_workload="reviews-v1"', 'response_code="200"') == 3
    assert bench.value("istio_requests_total", 'destination_workload="unknown"', 'response_code="503"') == 1
    assert bench.value("istio_request_duration_milliseconds_count") == 6
    assert bench.value("istio_request_duration_milliseconds_sum") == pytest.approx(60.0)
    assert (one.requests_total, one.requests_success, one.requests_error) == (4, 3, 1)


def test_flags_make_series_of_their_own() -> None:
    bench, item = Bench(), record()
    bench.observer.begin(item)
    item.flag(Flag.NO_ROUTE)
    item.status = 404
    bench.observer.end(item, 101.0)
    assert bench.value("istio_requests_total", 'response_flags="NR"', 'destination_service="unknown"') == 1


def test_bytes_are_observed() -> None:
    bench, item = Bench(), record()
    bench.observer.begin(item)
    item.bytes_received, item.bytes_sent, item.status = 10, 2_000, 200
    bench.observer.end(item, 101.0)
    assert (bench.value("istio_request_bytes_sum"), bench.value("istio_response_bytes_sum")) == (10, 2_000)


def test_the_server_tells_clients_apart() -> None:
    bench = Bench(Direction.INBOUND)
    value = PEER_LINES.decode().split("x-envoy-peer-metadata: ")[1].strip()
    for request in (head("GET", "/", "h", x_envoy_peer_metadata=value), head(), head()):
        bench.serve(request, to=host())
    assert bench.value("istio_requests_total", 'reporter="destination"', 'source_workload="me"') == 1
    assert bench.value("istio_requests_total", 'reporter="destination"', 'source_workload="unknown"') == 2


def test_ten_thousand_hosts_and_paths_make_one_series() -> None:
    bench, to = Bench(), host(workload=REVIEWS_V1)
    for number in range(10_000):
        bench.serve(head("GET", f"/{number}", f"h{number}"), to)
    lines = [line for line in bench.registry.expose(200.0).decode().splitlines() if line.startswith("istio_requests_total{")]
    assert len(lines) == 1


def test_a_dropped_series_is_found_again() -> None:
    bench, to = Bench(), host()
    bench.serve(to=to)
    bench.registry.expose(100_000.0)
    bench.serve(to=to)
    assert bench.value("istio_requests_total") == 1


def test_labels_beyond_the_budget_are_counted_as_other_until_there_is_room() -> None:
    bench = Bench(max_series=2)
    hosts = [host(f"10.0.0.{number}:1", workload=replace(REVIEWS_V1, name=f"w{number}")) for number in range(4)]
    for to in hosts * 2:
        bench.serve(to=to)
    assert bench.value("istio_requests_total", 'destination_workload="other"') == 4
    bench.registry.expose(100_000.0)
    bench.serve(to=hosts[3])
    assert bench.value("istio_requests_total", 'destination_workload="w3"') == 1


def test_routes_are_counted_where_they_decide() -> None:
    route = Route(RouteMatch(), ForwardAction((WeightedCluster("v1"),)))
    item = record()
    found = RouteTable(RouteConfig("r", (VirtualHost("reviews:9080", ("*",), (route,)),))).find(item.head)
    assert found is not None
    for direction, expected in ((Direction.OUTBOUND, 1), (Direction.INBOUND, 0)):
        bench = Bench(direction)
        item.route, item.share, item.status = found, found.shares[0], 200
        bench.observer.end(item, 101.0)
        assert bench.value("triomesh_route_requests_total", 'virtual_host="reviews:9080"', 'cluster="v1"') == expected
        assert bench.value("triomesh_route_request_duration_seconds_count") == expected
        assert bench.value("triomesh_route_request_duration_seconds_sum") == pytest.approx(expected * (101.0 - item.started_at))


def test_grpc_has_a_status_and_messages() -> None:
    bench, item = Bench(), record(head("POST", "/a.B/C", "h", content_type="application/grpc"))
    bench.observer.begin(item)
    item.status, item.trailers, item.request_messages, item.response_messages = 200, Answer(grpc_status="5"), 2, 3
    bench.observer.end(item, 101.0)
    assert bench.value("istio_requests_total", 'request_protocol="grpc"', 'grpc_response_status="5"') == 1
    assert (bench.value("istio_request_messages_total"), bench.value("istio_response_messages_total")) == (2, 3)


@pytest.mark.parametrize(
    ("trailers", "response", "expected"),
    [("0", None, 0), (None, "14", 14), ("7", "14", 7), ("99", None, 2), ("x", None, 2), (None, None, -1)],
)
def test_where_a_grpc_status_is_found(trailers: str | None, response: str | None, expected: int) -> None:
    item = record()
    item.trailers = Answer(grpc_status=trailers) if trailers is not None else None
    item.response = Answer(grpc_status=response) if response is not None else None
    assert grpc_status(item) == expected
