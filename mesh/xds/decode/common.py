"""Strict reading of protobuf messages: every field that is set is understood, known to be harmless, or an error."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from typing import Any

import envoy.config.core.v3.config_source_pb2 as config_source_pb
from google.protobuf.json_format import MessageToDict
from google.protobuf.message import DecodeError as ProtobufError

from mesh.model.addr import Address, Cidr
from mesh.model.match import StringKind, StringMatch
from mesh.model.origin import Origin
from mesh.model.route import NO_MUTATION, HeaderMutation
from mesh.xds.error import DecodeError
from mesh.xds.wire import ORIGIN_METADATA, SDS_CLUSTER

_SCALE = {0: 1, 1: 100, 2: 10_000}
"""FractionalPercent.DenominatorType: HUNDRED, TEN_THOUSAND, MILLION, as parts per percent."""


class Reader:
    """A message, where it stands in its resource, and what was said about its fields.

    `Reader(message, path)` at once refuses fields that are set and neither in `known` nor in `harmless`. Fields that
    this build of the protobufs does not know at all are skipped, as Envoy does for dynamic configuration.
    """

    __slots__ = ("message", "path", "resource")

    def __init__(
        self,
        message: Any,
        resource: str,
        path: str = "",
        known: Collection[str] = (),
        harmless: Collection[str] = (),
    ) -> None:
        self.message = message
        self.resource = resource
        self.path = path
        for field, _ in message.ListFields():
            if field.name not in known and field.name not in harmless:
                raise DecodeError(resource, self.join(field.name), "is not supported")

    def join(self, field: str) -> str:
        return f"{self.path}.{field}" if self.path else field

    def error(self, field: str, message: str) -> DecodeError:
        return DecodeError(self.resource, self.join(field) if field else self.path, message)

    def has(self, field: str) -> bool:
        return bool(self.message.HasField(field))

    def child(self, field: str, known: Collection[str] = (), harmless: Collection[str] = ()) -> Reader:
        """The message in a singular field (default values when it is not set)."""
        return Reader(getattr(self.message, field), self.resource, self.join(field), known, harmless)

    def children(self, field: str, known: Collection[str] = (), harmless: Collection[str] = ()) -> list[Reader]:
        """The messages of a repeated field."""
        base = self.join(field)
        return [
            Reader(item, self.resource, f"{base}[{i}]", known, harmless)
            for i, item in enumerate(getattr(self.message, field))
        ]

    def seconds(self, field: str, default: float) -> float:
        """A Duration; `default` (what Envoy does) when it is not set."""
        if not self.has(field):
            return default
        value = getattr(self.message, field)
        total = value.seconds * 10**9 + value.nanos
        if total < 0:
            raise self.error(field, "is negative")
        return float(total / 10**9)

    def optional_seconds(self, field: str) -> float | None:
        return self.seconds(field, 0.0) if self.has(field) else None

    def wrapped(self, field: str, default: Any) -> Any:
        """A BoolValue, UInt32Value or such; `default` when it is not set."""
        return getattr(self.message, field).value if self.has(field) else default

    def percent(self, field: str, default: float) -> float:
        """A `Percent` (a double)."""
        if not self.has(field):
            return default
        value = float(getattr(self.message, field).value)
        if math.isnan(value) or not 0 <= value <= 100:
            raise self.error(field, f"{value} is not a percentage")
        return value

    def fraction(self, field: str, default: float) -> float:
        """A `FractionalPercent` as 0..100."""
        if not self.has(field):
            return default
        value = getattr(self.message, field)
        if value.denominator not in _SCALE:
            raise self.error(f"{field}.denominator", "is not supported")
        return min(100.0, float(value.numerator / _SCALE[value.denominator]))

    def runtime_fraction(self, field: str, default: float) -> float:
        """A `RuntimeFractionalPercent`: there is no runtime here, so the default value is the value."""
        if not self.has(field):
            return default
        return self.child(field, ("default_value",), ("runtime_key",)).fraction("default_value", 100.0)

    def one_of(self, group: str, *allowed: str) -> str | None:
        """Which member of a oneof is set. Raises DecodeError for one that is not in `allowed`."""
        chosen = self.message.WhichOneof(group)
        if chosen is not None and chosen not in allowed:
            raise self.error(chosen, "is not supported")
        return str(chosen) if chosen is not None else None

    def unpack(self, field: str, message: Any, known: Collection[str], harmless: Collection[str] = ()) -> Reader:
        """The content of an `Any` field, which must be of the type of `message` (an empty instance of it)."""
        packed = getattr(self.message, field)
        if not packed.Is(message.DESCRIPTOR):
            raise self.error(field, f"is a {type_name(packed) or 'nothing'}, not a {message.DESCRIPTOR.full_name}")
        try:
            packed.Unpack(message)
        except ProtobufError as exc:
            raise self.error(field, f"cannot be parsed: {exc}") from exc
        return Reader(message, self.resource, self.join(field), known, harmless)


def type_name(packed: Any) -> str:
    """Full message name inside an Any; looks through TypedStruct."""
    return str(packed.type_url).rpartition("/")[2]


def read_address(reader: Reader, field: str) -> Address:
    """An `Address` message: TCP sockets only."""
    if not reader.has(field):
        raise reader.error(field, "is missing")
    outer = reader.child(field, ("socket_address",))
    return read_socket_address(outer, "socket_address")


def read_socket_address(reader: Reader, field: str) -> Address:
    socket = reader.child(field, ("address", "port_value", "protocol"), ("ipv4_compat",))
    if socket.message.protocol != 0:
        raise socket.error("protocol", "only TCP is supported")
    return Address(socket.message.address, socket.message.port_value)


def read_cidr(reader: Reader) -> Cidr:
    try:
        return Cidr.parse(f"{reader.message.address_prefix}/{reader.wrapped('prefix_len', 0)}")
    except ValueError as exc:
        raise reader.error("", str(exc)) from exc


CIDR_FIELDS = ("address_prefix", "prefix_len")

_STRING_KINDS = {
    "exact": StringKind.EXACT,
    "prefix": StringKind.PREFIX,
    "suffix": StringKind.SUFFIX,
    "contains": StringKind.CONTAINS,
}


def read_string_match(reader: Reader) -> StringMatch:
    """A `StringMatcher`."""
    chosen = reader.one_of("match_pattern", *_STRING_KINDS, "safe_regex")
    if chosen is None:
        raise reader.error("", "matches nothing in particular: no pattern is set")
    if chosen == "safe_regex":
        return StringMatch(StringKind.REGEX, read_regex(reader, "safe_regex"))
    return StringMatch(_STRING_KINDS[chosen], getattr(reader.message, chosen), reader.message.ignore_case)


STRING_FIELDS = (*_STRING_KINDS, "safe_regex", "ignore_case")


def read_regex(reader: Reader, field: str) -> str:
    # `google_re2` chose the engine once; there is no other one.
    matcher = reader.child(field, ("regex",), ("google_re2",))
    if not matcher.message.regex:
        raise matcher.error("regex", "is empty")
    return str(matcher.message.regex)


HEADER_FIELDS = (
    "request_headers_to_add",
    "request_headers_to_remove",
    "response_headers_to_add",
    "response_headers_to_remove",
)


def read_mutations(reader: Reader) -> tuple[HeaderMutation, HeaderMutation]:
    """(request, response) changes of a message with Envoy's four header fields."""
    return _mutation(reader, "request"), _mutation(reader, "response")


def _mutation(reader: Reader, side: str) -> HeaderMutation:
    overwrites: dict[str, str] = {}
    additions: list[tuple[str, str]] = []
    known = ("header", "append", "append_action", "keep_empty_value")
    for option in reader.children(f"{side}_headers_to_add", known):
        header = option.child("header", ("key", "value", "raw_value")).message
        name = header.key.lower()
        value = header.value or header.raw_value.decode("latin-1")
        if _overwrites(option):
            # Envoy goes in order: what was added under this name before is overwritten by it.
            overwrites[name] = value
            additions = [pair for pair in additions if pair[0] != name]
        else:
            additions.append((name, value))
        if not value and not option.message.keep_empty_value:
            raise option.error("keep_empty_value", "an empty value that is not kept has no meaning")
    removals = tuple(name.lower() for name in getattr(reader.message, f"{side}_headers_to_remove"))
    if not (overwrites or additions or removals):
        return NO_MUTATION
    return HeaderMutation(tuple(overwrites.items()), tuple(additions), removals)


def _overwrites(option: Reader) -> bool:
    message = option.message
    if option.has("append"):
        # The older spelling; `append_action` must not be used beside it.
        return not message.append.value
    if message.append_action == message.APPEND_IF_EXISTS_OR_ADD:
        return False
    if message.append_action == message.OVERWRITE_IF_EXISTS_OR_ADD:
        return True
    raise option.error("append_action", "only APPEND_IF_EXISTS_OR_ADD and OVERWRITE_IF_EXISTS_OR_ADD are supported")


def read_metadata(reader: Reader, field: str = "metadata") -> Mapping[str, Mapping[str, Any]]:
    """`filter_metadata` as JSON objects. Typed metadata is for filters that we do not have: skipped."""
    message = getattr(reader.message, field)
    return {key: MessageToDict(value) for key, value in message.filter_metadata.items()}


def read_origin(metadata: Mapping[str, Mapping[str, Any]]) -> Origin | None:
    """The origin that our own control plane wrote; None from any other."""
    fields = metadata.get(ORIGIN_METADATA, {})
    if "kind" not in fields:
        return None
    kind, namespace, name, rule = (str(fields.get(key, "")) for key in ("kind", "namespace", "name", "rule"))
    return Origin(kind, namespace, name, rule, int(fields.get("generation", 0)))


def read_workload_source(reader: Reader, field: str) -> None:
    """The proxy's own secrets come from the agent beside it, in Istio's words; ours is in the proxy itself."""
    source = reader.child(field, ("api_config_source", "ads", "self"), ("resource_api_version", "initial_fetch_timeout"))
    if not source.has("api_config_source"):
        raise source.error("api_config_source", f"is missing: {reader.message.name} is the proxy's own, from {SDS_CLUSTER}")
    known = ("api_type", "grpc_services")
    api = source.child("api_config_source", known, ("transport_api_version", "set_node_on_first_message_only"))
    if api.message.api_type != config_source_pb.ApiConfigSource.GRPC:
        raise api.error("api_type", "only GRPC is supported")
    services = [
        service.child("envoy_grpc", ("cluster_name",)).message.cluster_name
        for service in api.children("grpc_services", ("envoy_grpc",), ("timeout",))
    ]
    if services != [SDS_CLUSTER]:
        named = ", ".join(services) or "none"
        raise api.error("grpc_services", f"must be the cluster {SDS_CLUSTER} alone, is {named}")


def read_ads_source(reader: Reader, field: str) -> None:
    """Dynamic resources come over the stream that we are on, or not at all."""
    source = reader.child(field, ("ads", "self"), ("resource_api_version", "initial_fetch_timeout"))
    if source.message.WhichOneof("config_source_specifier") is None:
        raise source.error("", "says nowhere to get it from")
