"""Per-route filter settings: fault injection and CORS."""

from __future__ import annotations

from typing import Any

import envoy.config.core.v3.base_pb2 as base_pb
import envoy.extensions.filters.common.fault.v3.fault_pb2 as common_fault_pb
import envoy.extensions.filters.http.cors.v3.cors_pb2 as cors_pb
import envoy.extensions.filters.http.fault.v3.fault_pb2 as fault_pb
from google.protobuf.wrappers_pb2 import BoolValue

from mesh.model.route import CorsPolicy, Fault
from mesh.xds.encode.common import Path, bounded, duration, fraction, pack, string_match

_MAX_GRPC_STATUS = 16


def fault_config(value: Fault, path: Path) -> Any:
    """An `Any` of HTTPFault. Raises: EncodeError."""
    message = fault_pb.HTTPFault()
    if value.delay is not None:
        if value.delay.seconds <= 0:
            raise path.error("delay.seconds", "must be positive")
        message.delay.CopyFrom(
            common_fault_pb.FaultDelay(
                fixed_delay=duration(value.delay.seconds, path, "delay.seconds"),
                percentage=fraction(value.delay.percent, path, "delay.percent"),
            )
        )
    if value.abort is not None:
        abort = value.abort
        if (abort.http_status is None) == (abort.grpc_status is None):
            raise path.error("abort", "needs exactly one of http_status and grpc_status")
        message.abort.percentage.CopyFrom(fraction(abort.percent, path, "abort.percent"))
        if abort.http_status is not None:
            message.abort.http_status = bounded(abort.http_status, path, "abort.http_status", 200, 599)
        if abort.grpc_status is not None:
            message.abort.grpc_status = bounded(abort.grpc_status, path, "abort.grpc_status", 0, _MAX_GRPC_STATUS)
    return pack(message)


def cors_config(value: CorsPolicy, path: Path) -> Any:
    """An `Any` of the CORS filter's CorsPolicy. Raises: EncodeError."""
    origins = [string_match(origin, path, f"allow_origins[{i}]") for i, origin in enumerate(value.allow_origins)]
    message = cors_pb.CorsPolicy(
        allow_origin_string_match=origins,
        allow_methods=value.allow_methods,
        allow_headers=value.allow_headers,
        expose_headers=value.expose_headers,
        max_age=value.max_age,
        allow_credentials=BoolValue(value=value.allow_credentials),
        forward_not_matching_preflights=BoolValue(value=value.forward_unmatched),
        filter_enabled=base_pb.RuntimeFractionalPercent(default_value=fraction(100, path, "filter_enabled")),
    )
    return pack(message)
