"""`typed_per_filter_config`: fault injection and CORS per route."""

from __future__ import annotations

import envoy.config.route.v3.route_components_pb2 as components_pb
import envoy.extensions.filters.http.cors.v3.cors_pb2 as cors_pb
import envoy.extensions.filters.http.fault.v3.fault_pb2 as fault_pb

from mesh.model.route import CorsPolicy, Fault, FaultAbort, FaultDelay
from mesh.xds.decode.common import STRING_FIELDS, Reader, read_string_match

_ANY = ("type_url", "value")
_FAULT_HARMLESS = ("disable_downstream_cluster_stats",)
_CORS_FIELDS = (
    "allow_origin_string_match",
    "allow_methods",
    "allow_headers",
    "expose_headers",
    "max_age",
    "allow_credentials",
    "forward_not_matching_preflights",
    "filter_enabled",
)


def read_filter_configs(reader: Reader) -> tuple[Fault | None, CorsPolicy | None]:
    """The per-route settings of the two filters that have any; of an unknown one: an error unless it is optional."""
    fault: Fault | None = None
    cors: CorsPolicy | None = None
    for name, packed in reader.message.typed_per_filter_config.items():
        config = Reader(packed, reader.resource, reader.join(f"typed_per_filter_config[{name}]"), _ANY)
        wrapper = components_pb.FilterConfig()
        if packed.Is(wrapper.DESCRIPTOR):
            packed.Unpack(wrapper)
            if wrapper.is_optional:
                continue
            raise config.error("", "a FilterConfig is not supported")
        if packed.Is(fault_pb.HTTPFault.DESCRIPTOR):
            fault = _fault(config)
        elif packed.Is(cors_pb.CorsPolicy.DESCRIPTOR):
            cors = _cors(config)
        else:
            raise config.error("", f"{packed.type_url} is not supported")
    return fault, cors


def _fault(config: Reader) -> Fault:
    message = fault_pb.HTTPFault()
    config.message.Unpack(message)
    reader = Reader(message, config.resource, config.path, ("delay", "abort"), _FAULT_HARMLESS)
    delay = abort = None
    if reader.has("delay"):
        # `type` is a leftover of v2.
        part = reader.child("delay", ("fixed_delay", "percentage"), ("type",))
        delay = FaultDelay(part.seconds("fixed_delay", 0.0), part.fraction("percentage", 0.0))
    if reader.has("abort"):
        part = reader.child("abort", ("http_status", "grpc_status", "percentage"))
        chosen = part.message.WhichOneof("error_type")
        if chosen is None:
            raise part.error("", "says not with what to abort")
        percent = part.fraction("percentage", 0.0)
        if chosen == "http_status":
            abort = FaultAbort(percent, http_status=part.message.http_status)
        else:
            abort = FaultAbort(percent, grpc_status=part.message.grpc_status)
    return Fault(delay, abort)


def _cors(config: Reader) -> CorsPolicy | None:
    message = cors_pb.CorsPolicy()
    config.message.Unpack(message)
    reader = Reader(message, config.resource, config.path, _CORS_FIELDS)
    share = reader.runtime_fraction("filter_enabled", 100.0)
    if share == 0.0:
        return None
    if share != 100.0:
        raise reader.error("filter_enabled", "must be 0 or 100 percent")
    origins = reader.children("allow_origin_string_match", STRING_FIELDS)
    return CorsPolicy(
        allow_origins=tuple(read_string_match(origin) for origin in origins),
        allow_methods=message.allow_methods,
        allow_headers=message.allow_headers,
        expose_headers=message.expose_headers,
        max_age=message.max_age,
        allow_credentials=reader.wrapped("allow_credentials", False),
        # Envoy's default is true.
        forward_unmatched=reader.wrapped("forward_not_matching_preflights", True),
    )
