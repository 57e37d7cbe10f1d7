"""Envoy v3 protobufs to model, for any xDS v3 server's messages.

Strict: a field that is set, changes behaviour and is not supported is a `DecodeError` naming resource and field, so
that the client refuses that resource (and no other). What is ignored stands in each module's lists of harmless
fields, with the reason. Start at `decode`; modules are imported when the first resource of their type arrives.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from google.protobuf.message import DecodeError as ProtobufError

from mesh.xds.error import DecodeError
from mesh.xds.kind import Kind
from mesh.xds.references import Model


def decode(kind: Kind, body: bytes, name: str = "") -> Model:
    """One resource from its serialized message (the `value` of the `Any`). `name`: for messages, if it is known.

    Raises: DecodeError.
    """
    message_type, read = _codec(kind)
    message = message_type()
    try:
        message.ParseFromString(body)
    except ProtobufError as exc:
        raise DecodeError(name, "", f"not a {message_type.DESCRIPTOR.full_name}: {exc}") from exc
    return read(message)


def decode_message(kind: Kind, message: Any) -> Model:
    """One resource that is parsed already (from a bootstrap). Raises: DecodeError."""
    return _codec(kind)[1](message)


def message_class(kind: Kind) -> Any:
    """The protobuf class of a type."""
    return _codec(kind)[0]


def _codec(kind: Kind) -> tuple[Any, Callable[[Any], Model]]:
    match kind:
        case Kind.CLUSTER:
            from mesh.xds.decode import cluster

            return cluster.MESSAGE, cluster.decode_cluster
        case Kind.ENDPOINT:
            from mesh.xds.decode import endpoint

            return endpoint.MESSAGE, endpoint.decode_assignment
        case Kind.LISTENER:
            from mesh.xds.decode import listener

            return listener.MESSAGE, listener.decode_listener
        case Kind.ROUTE:
            from mesh.xds.decode import route

            return route.MESSAGE, route.decode_route_config
        case Kind.SECRET:
            from mesh.xds.decode import tls

            return tls.MESSAGE, tls.decode_secret
