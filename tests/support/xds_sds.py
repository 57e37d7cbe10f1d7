"""The agent beside a proxy, as far as Envoy needs it: an SDS server in a thread, with a certificate and the mesh's roots."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent import futures
from typing import Any

import envoy.service.discovery.v3.discovery_pb2 as discovery_pb
import grpc

from mesh.model.secret import Secret
from mesh.xds.encode.common import pack
from mesh.xds.encode.tls import encode_secret

_TYPE = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret"
_HTTP2 = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"


class Agent:
    """`with Agent(secrets) as agent:` — `agent.cluster()` is the static cluster `sds-grpc` of a bootstrap."""

    def __init__(self, *secrets: Secret) -> None:
        self._secrets = {secret.name: secret for secret in secrets}
        self.asked: set[str] = set()
        # One thread per stream: Envoy opens one for each secret.
        self._server = grpc.server(futures.ThreadPoolExecutor(8))
        handler = grpc.stream_stream_rpc_method_handler(
            self._stream, discovery_pb.DiscoveryRequest.FromString, discovery_pb.DiscoveryResponse.SerializeToString
        )
        service = "envoy.service.secret.v3.SecretDiscoveryService"
        self._server.add_generic_rpc_handlers(
            (grpc.method_handlers_generic_handler(service, {"StreamSecrets": handler}),)
        )
        self.port = self._server.add_insecure_port("127.0.0.1:0")

    def __enter__(self) -> Agent:
        self._server.start()
        return self

    def __exit__(self, *exc_info: Any) -> None:
        self._server.stop(0).wait()

    def cluster(self) -> dict[str, Any]:
        address = {"socket_address": {"address": "127.0.0.1", "port_value": self.port}}
        options = {"@type": f"type.googleapis.com/{_HTTP2}", "explicit_http_config": {"http2_protocol_options": {}}}
        return {
            "name": "sds-grpc",
            "type": "STATIC",
            "connect_timeout": "5s",
            "typed_extension_protocol_options": {_HTTP2: options},
            "load_assignment": {
                "cluster_name": "sds-grpc",
                "endpoints": [{"lb_endpoints": [{"endpoint": {"address": address}}]}],
            },
        }

    def _stream(self, requests: Iterator[Any], _context: Any) -> Iterator[Any]:
        for request in requests:
            if request.response_nonce:
                continue
            self.asked.update(request.resource_names)
            secrets = [encode_secret(self._secrets[name]) for name in request.resource_names]
            yield discovery_pb.DiscoveryResponse(
                version_info="1", nonce="1", type_url=_TYPE, resources=[pack(secret) for secret in secrets]
            )
