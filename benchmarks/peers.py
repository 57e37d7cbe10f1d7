"""What the proxies under test talk to beside the back end: an ADS server with one fixed configuration, an OTLP sink.

`python -m benchmarks.peers` prints its port, then reads lines from standard input: a JSON object with `listener`,
`clusters` and `secrets` (xDS JSON) becomes the configuration, `spans` prints the number of spans received and starts again from 0.
Both services are on one gRPC server; it must not share a core with the proxy under test.
"""

import json
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import envoy.config.cluster.v3.cluster_pb2 as cluster_pb
import envoy.config.listener.v3.listener_pb2 as listener_pb
import envoy.config.trace.v3.opentelemetry_pb2
import envoy.extensions.filters.http.router.v3.router_pb2
import envoy.extensions.filters.listener.tls_inspector.v3.tls_inspector_pb2
import envoy.extensions.filters.network.http_connection_manager.v3.http_connection_manager_pb2
import envoy.extensions.transport_sockets.tls.v3.secret_pb2 as secret_pb
import envoy.extensions.transport_sockets.tls.v3.tls_pb2
import envoy.extensions.upstreams.http.v3.http_protocol_options_pb2  # noqa: F401
import envoy.service.discovery.v3.discovery_pb2 as discovery_pb
import grpc
from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.json_format import ParseDict
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.proto.trace.v1.trace_pb2 import ResourceSpans

_PREFIX = "type.googleapis.com/"
_CLUSTER = _PREFIX + "envoy.config.cluster.v3.Cluster"
_LISTENER = _PREFIX + "envoy.config.listener.v3.Listener"
_SECRET = _PREFIX + "envoy.extensions.transport_sockets.tls.v3.Secret"
_MESSAGES = {_CLUSTER: cluster_pb.Cluster, _LISTENER: listener_pb.Listener, _SECRET: secret_pb.Secret}
_ADS = "envoy.service.discovery.v3.AggregatedDiscoveryService"
_OTLP = "opentelemetry.proto.collector.trace.v1.TraceService"

# xds-protos brings an older copy of OTLP's messages, where the same field has its older name; the wire is the same.
_SCOPES = ResourceSpans.DESCRIPTOR.fields_by_number[2].name


class Peers:
    """State of both services. Concurrency: gRPC's threads and the main thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._spans = 0
        self._resources: dict[str, list[AnyMessage]] = {}

    def configure(self, configuration: dict[str, Any]) -> None:
        """For streams opened from now on. Raises: google.protobuf.json_format.ParseError."""
        clusters = [_packed(ParseDict(each, cluster_pb.Cluster())) for each in configuration["clusters"]]
        listener = _packed(ParseDict(configuration["listener"], listener_pb.Listener()))
        secrets = [_packed(ParseDict(each, secret_pb.Secret())) for each in configuration["secrets"]]
        with self._lock:
            self._resources = {_CLUSTER: clusters, _LISTENER: [listener], _SECRET: secrets}

    def take_spans(self) -> int:
        """Spans received since the last call."""
        with self._lock:
            spans, self._spans = self._spans, 0
        return spans

    def export(self, request: ExportTraceServiceRequest, context: grpc.ServicerContext) -> ExportTraceServiceResponse:
        """TraceService.Export."""
        count = sum(len(scope.spans) for resource in request.resource_spans for scope in getattr(resource, _SCOPES))
        with self._lock:
            self._spans += count
        return ExportTraceServiceResponse()

    def delta(self, requests: Iterator[Any], context: grpc.ServicerContext) -> Iterator[Any]:
        """DeltaAggregatedResources: everything of a type once, when the type is first asked for."""
        for request in _first_of_each_type(requests):
            resources = [
                discovery_pb.Resource(name=_name(each), version="1", resource=each)
                for each in self._of(request.type_url)
            ]
            yield discovery_pb.DeltaDiscoveryResponse(
                type_url=request.type_url, resources=resources, nonce=request.type_url, system_version_info="1"
            )

    def state_of_the_world(self, requests: Iterator[Any], context: grpc.ServicerContext) -> Iterator[Any]:
        """StreamAggregatedResources: as delta."""
        for request in _first_of_each_type(requests):
            yield discovery_pb.DiscoveryResponse(
                type_url=request.type_url,
                resources=self._of(request.type_url),
                nonce=request.type_url,
                version_info="1",
            )

    def _of(self, type_url: str) -> list[AnyMessage]:
        with self._lock:
            return list(self._resources.get(type_url, ()))


def _first_of_each_type(requests: Iterator[Any]) -> Iterator[Any]:
    seen: set[str] = set()
    for request in requests:
        if request.HasField("error_detail"):
            print(f"configuration refused: {request.error_detail.message}", file=sys.stderr, flush=True)
        elif request.type_url not in seen:
            seen.add(request.type_url)
            yield request


def _packed(message: Any) -> AnyMessage:
    packed = AnyMessage()
    packed.Pack(message)
    return packed


def _name(resource: AnyMessage) -> str:
    message = _MESSAGES[resource.type_url]()
    resource.Unpack(message)
    return message.name  # type: ignore[no-any-return]


def _handlers(peers: Peers) -> list[Any]:
    def stream(behaviour: Any, request: Any, response: Any) -> Any:
        return grpc.stream_stream_rpc_method_handler(behaviour, request.FromString, response.SerializeToString)

    ads = {
        "DeltaAggregatedResources": stream(
            peers.delta, discovery_pb.DeltaDiscoveryRequest, discovery_pb.DeltaDiscoveryResponse
        ),
        "StreamAggregatedResources": stream(
            peers.state_of_the_world, discovery_pb.DiscoveryRequest, discovery_pb.DiscoveryResponse
        ),
    }
    export = grpc.unary_unary_rpc_method_handler(
        peers.export, ExportTraceServiceRequest.FromString, ExportTraceServiceResponse.SerializeToString
    )
    return [
        grpc.method_handlers_generic_handler(_ADS, ads),
        grpc.method_handlers_generic_handler(_OTLP, {"Export": export}),
    ]


def main() -> None:
    """Serve until standard input ends."""
    peers = Peers()
    server = grpc.server(ThreadPoolExecutor(16))
    server.add_generic_rpc_handlers(_handlers(peers))
    print(server.add_insecure_port("127.0.0.1:0"), flush=True)
    server.start()
    for line in sys.stdin:
        if line.strip() == "spans":
            print(peers.take_spans(), flush=True)
        else:
            peers.configure(json.loads(line))
            print("ok", flush=True)
    server.stop(0)


if __name__ == "__main__":
    main()
