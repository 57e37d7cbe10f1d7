"""`HttpProtocolOptions` of a cluster: the protocol spoken to its hosts and how long connections live."""

from __future__ import annotations

import envoy.extensions.upstreams.http.v3.http_protocol_options_pb2 as http_options_pb

from mesh.model.cluster import Protocol
from mesh.xds.decode.common import Reader
from mesh.xds.wire import HTTP_OPTIONS


class HttpOptions:
    """What the typed protocol options say, or Envoy's defaults."""

    __slots__ = ("auto_sni", "idle_timeout", "max_duration", "max_requests", "protocol")

    def __init__(self) -> None:
        self.protocol = Protocol.HTTP1
        self.idle_timeout = 3600.0
        self.max_requests = 0
        self.max_duration = 0.0
        self.auto_sni = False


def read_http_options(reader: Reader) -> HttpOptions:
    result = HttpOptions()
    result.max_requests = reader.wrapped("max_requests_per_connection", 0)
    extensions = reader.message.typed_extension_protocol_options
    for name in extensions:
        if name != HTTP_OPTIONS:
            raise reader.error(f"typed_extension_protocol_options[{name}]", "is not supported")
    if HTTP_OPTIONS not in extensions:
        return result
    known = (
        "common_http_protocol_options",
        "upstream_http_protocol_options",
        "explicit_http_config",
        "use_downstream_protocol_config",
    )
    holder = Reader(
        extensions[HTTP_OPTIONS],
        reader.resource,
        f"typed_extension_protocol_options[{HTTP_OPTIONS}]",
        ("type_url", "value"),
    )
    message = http_options_pb.HttpProtocolOptions()
    if not holder.message.Unpack(message):
        raise holder.error("", f"is not a {message.DESCRIPTOR.full_name}")
    options = Reader(message, reader.resource, holder.path, known, ("header_validation_config",))
    common = options.child(
        "common_http_protocol_options",
        ("idle_timeout", "max_requests_per_connection", "max_connection_duration"),
        # Limits of what a backend may answer: ours are the codec's own.
        ("max_headers_count", "max_response_headers_kb", "headers_with_underscores_action"),
    )
    result.idle_timeout = common.seconds("idle_timeout", 3600.0)
    result.max_requests = common.wrapped("max_requests_per_connection", result.max_requests)
    result.max_duration = common.seconds("max_connection_duration", 0.0)
    upstream = options.child("upstream_http_protocol_options", ("auto_sni",), ("auto_san_validation",))
    result.auto_sni = upstream.message.auto_sni
    if options.has("use_downstream_protocol_config"):
        result.protocol = Protocol.DOWNSTREAM
    elif options.has("explicit_http_config"):
        chosen = options.child("explicit_http_config", ("http_protocol_options", "http2_protocol_options"))
        if chosen.has("http2_protocol_options"):
            result.protocol = Protocol.HTTP2
    return result
