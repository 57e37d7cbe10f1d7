"""Small messages that every encoder needs: durations, addresses, string matchers, metadata, extensions."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import envoy.config.core.v3.address_pb2 as address_pb
import envoy.config.core.v3.base_pb2 as base_pb
import envoy.config.core.v3.config_source_pb2 as config_source_pb
import envoy.config.core.v3.extension_pb2 as extension_pb
import envoy.config.core.v3.grpc_service_pb2 as grpc_service_pb
import envoy.type.matcher.v3.regex_pb2 as regex_pb
import envoy.type.matcher.v3.string_pb2 as string_pb
import envoy.type.v3.percent_pb2 as percent_pb
from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.duration_pb2 import Duration
from google.protobuf.struct_pb2 import Struct
from google.protobuf.wrappers_pb2 import UInt32Value

from mesh.model.addr import Address, Cidr
from mesh.model.match import StringKind, StringMatch
from mesh.model.origin import Origin
from mesh.model.route import HeaderMutation
from mesh.xds.error import EncodeError
from mesh.xds.wire import ORIGIN_METADATA, SDS_CLUSTER

_MAX_UINT32 = (1 << 32) - 1
_MAX_SECONDS = 315_576_000_000
"""protobuf's Duration ends at 10,000 years."""


class Path:
    """Where in the model we are; turned into text only when something is wrong."""

    __slots__ = ("_parent", "_part", "resource")

    def __init__(self, resource: str, part: str = "", parent: Path | None = None) -> None:
        self.resource = resource
        self._part = part
        self._parent = parent

    def at(self, name: str, index: int | None = None) -> Path:
        return Path(self.resource, name if index is None else f"{name}[{index}]", self)

    def error(self, field: str, message: str) -> EncodeError:
        return EncodeError(self.resource, ".".join(part for part in (str(self), field) if part), message)

    def __str__(self) -> str:
        above = str(self._parent) if self._parent is not None else ""
        return f"{above}.{self._part}" if above else self._part


def duration(seconds: float, path: Path, field: str) -> Any:
    """Nanosecond precision, rounded. Raises EncodeError for negative, infinite or absurd values."""
    if not 0 <= seconds <= _MAX_SECONDS:
        raise path.error(field, f"{seconds} is not a duration in seconds")
    whole, nanos = divmod(round(seconds * 1e9), 10**9)
    return Duration(seconds=whole, nanos=nanos)


def uint32(value: int, path: Path, field: str, lowest: int = 0, highest: int = _MAX_UINT32) -> Any:
    """A wrapped integer within the bounds that Envoy's validation sets."""
    return UInt32Value(value=bounded(value, path, field, lowest, highest))


def bounded(value: int, path: Path, field: str, lowest: int = 0, highest: int = _MAX_UINT32) -> int:
    if not lowest <= value <= highest:
        raise path.error(field, f"{value} is not within {lowest}..{highest}")
    return value


def fraction(percent: float, path: Path, field: str) -> Any:
    """0..100 as millionths: Envoy's finest `FractionalPercent`."""
    return percent_pb.FractionalPercent(
        numerator=round(check_percent(percent, path, field) * 10_000), denominator=percent_pb.FractionalPercent.MILLION
    )


def percent(value: float, path: Path, field: str) -> Any:
    return percent_pb.Percent(value=check_percent(value, path, field))


def check_percent(value: float, path: Path, field: str) -> float:
    if not 0 <= value <= 100:
        raise path.error(field, f"{value} is not a percentage")
    return value


def address(value: Address, path: Path, field: str) -> Any:
    bounded(value.port, path, f"{field}.port", 0, 65535)
    if not value.host:
        raise path.error(field, "has no host")
    return address_pb.Address(socket_address=address_pb.SocketAddress(address=value.host, port_value=value.port))


def cidr(value: Cidr) -> Any:
    return address_pb.CidrRange(address_prefix=value.host, prefix_len=UInt32Value(value=value.prefix_length))


def extension(name: str, message: Any) -> Any:
    return extension_pb.TypedExtensionConfig(name=name, typed_config=pack(message))


def pack(message: Any) -> Any:
    """As `Any`, with deterministic bytes."""
    packed = AnyMessage()
    packed.Pack(message, deterministic=True)
    return packed


def ads_source() -> Any:
    """ "Ask on this very stream"."""
    return config_source_pb.ConfigSource(
        ads=config_source_pb.AggregatedConfigSource(), resource_api_version=config_source_pb.ApiVersion.V3
    )


def workload_source() -> Any:
    """ "Ask the agent beside you": where proxies have what is their own from. Word for word as Istio writes it."""
    service = grpc_service_pb.GrpcService(envoy_grpc=grpc_service_pb.GrpcService.EnvoyGrpc(cluster_name=SDS_CLUSTER))
    api = config_source_pb.ApiConfigSource(
        api_type=config_source_pb.ApiConfigSource.GRPC,
        transport_api_version=config_source_pb.ApiVersion.V3,
        set_node_on_first_message_only=True,
        grpc_services=[service],
    )
    # No timeout: a proxy without its certificate is not to begin.
    return config_source_pb.ConfigSource(
        api_config_source=api, resource_api_version=config_source_pb.ApiVersion.V3, initial_fetch_timeout=Duration()
    )


def regex(pattern: str) -> Any:
    return regex_pb.RegexMatcher(regex=pattern)


def string_match(value: StringMatch, path: Path, field: str) -> Any:
    """Envoy forbids empty prefix, suffix and contains patterns, and ignore_case with a regex."""
    if value.kind is not StringKind.EXACT and not value.value:
        raise path.error(field, f"an empty {value.kind.value} pattern is not allowed")
    message = string_pb.StringMatcher(ignore_case=value.ignore_case)
    match value.kind:
        case StringKind.EXACT:
            message.exact = value.value
        case StringKind.PREFIX:
            message.prefix = value.value
        case StringKind.SUFFIX:
            message.suffix = value.value
        case StringKind.CONTAINS:
            message.contains = value.value
        case StringKind.REGEX:
            if value.ignore_case:
                raise path.error(field, "ignore_case is not allowed with a regex; write (?i)")
            message.safe_regex.CopyFrom(regex(value.value))
    return message


def header_options(pairs: Iterable[tuple[str, str]], action: int) -> list[Any]:
    """An empty value is kept: Envoy would otherwise drop the header."""
    return [
        base_pb.HeaderValueOption(
            header=base_pb.HeaderValue(key=key, value=value), append_action=action, keep_empty_value=not value
        )
        for key, value in pairs
    ]


def mutate_headers(message: Any, request: HeaderMutation, response: HeaderMutation) -> None:
    """Fill the four header fields that routes and weighted clusters share. Envoy removes first, then goes in order."""
    option = base_pb.HeaderValueOption
    for prefix, mutation in (("request", request), ("response", response)):
        if not mutation:
            continue
        to_add = getattr(message, f"{prefix}_headers_to_add")
        to_add.extend(header_options(mutation.set, option.OVERWRITE_IF_EXISTS_OR_ADD))
        to_add.extend(header_options(mutation.add, option.APPEND_IF_EXISTS_OR_ADD))
        getattr(message, f"{prefix}_headers_to_remove").extend(mutation.remove)


def metadata_of(namespaces: Mapping[str, Mapping[str, Any]]) -> Any:
    """`Metadata` of the non-empty namespaces, None when there is none."""
    filled = {key: value for key, value in namespaces.items() if value}
    if not filled:
        return None
    message = base_pb.Metadata()
    for key, value in filled.items():
        fields = Struct()
        fields.update(dict(value))
        message.filter_metadata[key].CopyFrom(fields)
    return message


def origin_fields(origin: Origin | None) -> dict[str, Any]:
    if origin is None:
        return {}
    fields: dict[str, Any] = {"kind": origin.kind, "namespace": origin.namespace, "name": origin.name, "rule": origin.rule}
    if origin.generation:
        fields["generation"] = origin.generation
    return fields


def origin_metadata(origin: Origin | None) -> Any:
    return metadata_of({ORIGIN_METADATA: origin_fields(origin)})
