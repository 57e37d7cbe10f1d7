"""The server as clients meet it: real gRPC over loopback."""

from __future__ import annotations

import queue

import envoy.service.discovery.v3.discovery_pb2 as discovery_pb
import grpc
import pytest

from mesh.control.ads_server import AdsLimits, AdsServer
from mesh.model.cluster import Discovery
from mesh.xds.ads_client import AdsClient
from mesh.xds.client_status import FETCH, SERVICE, response_as_dict, write_query
from mesh.xds.kind import Kind, Variant
from mesh.xds.node import write_node
from tests.support.xds_server import RunningServer, Source
from tests.support.xds_wire import NODE, assignment, cluster, http_listener, route_config, snapshot

WEB = snapshot(cluster("c"), assignment("c"), http_listener("l", "r"), route_config("r", "c"))


class Stream:
    """One ADS stream of a client, by hand."""

    def __init__(self, port: int, variant: Variant = Variant.DELTA) -> None:
        self.channel = grpc.insecure_channel(f"127.0.0.1:{port}")
        self.requests: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        self.responses = self.channel.stream_stream(variant.value)(iter(self.requests.get, None), timeout=20)

    def __enter__(self) -> Stream:
        return self

    def __exit__(self, *exc_info) -> None:
        self.requests.put(None)
        self.responses.cancel()
        self.channel.close()

    def send(self, *bodies: bytes) -> None:
        for body in bodies:
            self.requests.put(body)

    def run(self, client: AdsClient, until) -> None:
        """Let a client talk until it is so."""
        self.send(*client.on_open())
        while not until():
            self.send(*client.on_response(next(self.responses)).requests)

    def status(self) -> tuple[grpc.StatusCode, str]:
        with pytest.raises(grpc.RpcError):
            for _ in self.responses:
                pass
        return self.responses.code(), self.responses.details()


@pytest.fixture
def server():
    with RunningServer() as running:
        yield running


@pytest.mark.parametrize("variant", Variant, ids=lambda variant: variant.name.lower())
def test_our_client_gets_the_whole_snapshot(server, variant):
    server.publish(WEB)
    client = AdsClient(NODE, variant)
    with Stream(server.port, variant) as stream:
        stream.run(client, lambda: client.snapshot == WEB)
    assert client.complete
    assert server.source.asked[0].id == NODE.id


def test_a_change_reaches_a_connected_client(server):
    server.publish(WEB)
    client = AdsClient(NODE)
    changed = snapshot(cluster("c", 9.0), assignment("c"), http_listener("l", "r"), route_config("r", "c"))
    with Stream(server.port) as stream:
        stream.run(client, lambda: client.snapshot == WEB)
        server.publish(changed)
        while client.snapshot != changed:
            stream.send(*client.on_response(next(stream.responses)).requests)


def test_unavailable_until_the_source_is_ready(server):
    server.source.ready = False
    with Stream(server.port) as stream:
        stream.send(*AdsClient(NODE).on_open())
        code, details = stream.status()
    assert code is grpc.StatusCode.UNAVAILABLE
    assert "has not read" in details


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"\xff\xff", grpc.StatusCode.INVALID_ARGUMENT),
        (
            discovery_pb.DeltaDiscoveryRequest(type_url=Kind.CLUSTER.value).SerializeToString(),
            grpc.StatusCode.INVALID_ARGUMENT,
        ),
        (
            discovery_pb.DeltaDiscoveryRequest(
                node=write_node(NODE),
                type_url=Kind.ENDPOINT.value,
                resource_names_subscribe=[f"{i}" for i in range(60_000)],
            ).SerializeToString(),
            grpc.StatusCode.RESOURCE_EXHAUSTED,
        ),
    ],
    ids=["garbage", "no node", "huge list"],
)
def test_bad_requests_end_the_stream_with_a_status(server, body, code):
    with Stream(server.port) as stream:
        stream.send(body)
        assert stream.status()[0] is code


def test_a_bad_client_disturbs_no_other(server):
    server.publish(WEB)
    client = AdsClient(NODE)
    with Stream(server.port) as good, Stream(server.port) as bad:
        bad.send(b"\xff\xff")
        bad.status()
        good.run(client, lambda: client.snapshot == WEB)


def test_a_flood_is_ended_with_a_status():
    with RunningServer(AdsLimits(max_requests_per_second=2, grace_seconds=0.2)) as server:
        server.publish(WEB)
        with Stream(server.port) as stream:
            first, *_ = AdsClient(NODE).on_open()
            stream.send(*[first] * 200)
            code, details = stream.status()
    assert code is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert "2 requests per second" in details


def test_silence_is_ended_with_a_status():
    with (
        RunningServer(AdsLimits(first_request_seconds=0.05, grace_seconds=0.2)) as server,
        Stream(server.port) as stream,
    ):
        assert stream.status()[0] is grpc.StatusCode.DEADLINE_EXCEEDED


def test_refusals_are_reported_and_counted(server):
    server.publish(snapshot(cluster("c", 1.0, Discovery.STATIC)))
    with Stream(server.port) as stream:
        stream.send(*AdsClient(NODE).on_open()[:1])
        response = discovery_pb.DeltaDiscoveryResponse.FromString(next(stream.responses))
        nack = discovery_pb.DeltaDiscoveryRequest(type_url=Kind.CLUSTER.value, response_nonce=response.nonce)
        nack.error_detail.message = "c: is bad"
        stream.send(nack.SerializeToString())
        server.metrics.wait_for(lambda: server.metrics.counts["pilot_xds_cds_reject",] == 1)
    assert [(n.node.id, n.kind, n.resource, n.message) for n in server.nacks] == [
        (NODE.id, Kind.CLUSTER, "c", "c: is bad")
    ]
    assert server.metrics.counts["pilot_total_xds_rejects",] == 1


def test_resource_that_cannot_be_encoded_is_reported_once_and_stops_no_other(server):
    bad = cluster("bad", -1.0, Discovery.STATIC)
    good = cluster("good", 1.0, Discovery.STATIC)
    server.publish(snapshot(bad, good))
    client = AdsClient(NODE)
    with Stream(server.port) as stream:
        stream.run(client, lambda: list(client.snapshot.clusters) == ["good"])
        server.publish(snapshot(bad, cluster("good", 2.0, Discovery.STATIC)))
        while client.snapshot.clusters["good"].connect_timeout_seconds != 2.0:
            stream.send(*client.on_response(next(stream.responses)).requests)
    assert [(nack.resource, nack.kind) for nack in server.nacks] == [("bad", Kind.CLUSTER)]


def test_failing_source_ends_that_stream_only():
    class Failing(Source):
        def snapshot_for(self, node):
            if node.name == "bad":
                raise RuntimeError("bug")
            return super().snapshot_for(node)

    with RunningServer(source=Failing()) as server:
        server.publish(WEB)
        client = AdsClient(NODE)
        bad = write_node(NODE)
        bad.id = "sidecar~1.2.3.4~bad.default~x"
        with Stream(server.port) as failing, Stream(server.port) as good:
            request = discovery_pb.DeltaDiscoveryRequest(node=bad, type_url=Kind.CLUSTER.value)
            failing.send(request.SerializeToString())
            assert failing.status()[0] is grpc.StatusCode.INTERNAL
            good.run(client, lambda: client.snapshot == WEB)


def test_metrics_know_who_is_connected_and_what_was_pushed(server):
    server.publish(WEB)
    client = AdsClient(NODE)
    with Stream(server.port) as stream:
        stream.run(client, lambda: client.snapshot == WEB)
        server.metrics.wait_for(lambda: server.metrics.observed["pilot_proxy_convergence_time"] >= 1)
        assert {label: server.metrics.counts["pilot_xds_pushes", label] for label in ("cds", "eds", "lds", "rds")} == {
            "cds": 1,
            "eds": 1,
            "lds": 1,
            "rds": 1,
        }
        assert sum(value for (name, *_), value in server.metrics.gauges.items() if name == "pilot_xds") == 1
    server.metrics.wait_for(
        lambda: all(not value for (name, *_), value in server.metrics.gauges.items() if name == "pilot_xds")
    )


def test_two_nodes_cost_one_encoding(server):
    server.publish(WEB)
    for client in (AdsClient(NODE), AdsClient(NODE)):
        with Stream(server.port) as stream:
            stream.run(client, lambda client=client: client.snapshot == WEB)
    assert server.ads.encoder.encoded == 4


def test_stop_ends_open_streams():
    with RunningServer() as server:
        server.publish(WEB)
        client = AdsClient(NODE)
        stream = Stream(server.port)
        stream.run(client, lambda: client.snapshot == WEB)
    assert stream.status()[0] is grpc.StatusCode.UNAVAILABLE
    stream.channel.close()


def test_csds_is_served_on_the_same_port(server):
    server.publish(WEB)
    client = AdsClient(NODE)
    with Stream(server.port) as stream:
        stream.run(client, lambda: client.snapshot == WEB)
        call = stream.channel.unary_unary(f"/{SERVICE}/{FETCH}")
        (config,) = response_as_dict(call(write_query([NODE.id]), timeout=10))["config"]
    assert config["node"]["id"] == NODE.id
    assert {entry["name"] for entry in config["genericXdsConfigs"]} == {"c", "l", "r"}


def test_an_address_in_use_is_an_os_error(server):
    import asyncio

    async def clash() -> None:
        with pytest.raises(OSError, match="cannot listen"):
            await AdsServer(Source()).start(f"127.0.0.1:{server.port}")

    asyncio.run(clash())
