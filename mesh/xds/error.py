"""What can be wrong with a resource on its way to or from the wire."""

from __future__ import annotations


class XdsError(ValueError):
    """A resource cannot be carried. `field` is a protobuf (decode) or model (encode) path, "" = the resource as a whole."""

    def __init__(self, resource: str, field: str, message: str) -> None:
        super().__init__(resource, field, message)
        self.resource = resource
        self.field = field
        self.message = message

    def __str__(self) -> str:
        return ": ".join(part for part in (self.resource, self.field, self.message) if part)


class DecodeError(XdsError):
    """A received resource holds something malformed, or a field that changes behaviour and is not supported."""


class EncodeError(XdsError):
    """A model value that no Envoy would accept, e.g. weights that add up to nothing."""


class ProtocolError(ValueError):
    """A peer broke the ADS protocol itself (not one resource): undecodable message, unbounded subscription, …"""


class LimitError(ProtocolError):
    """A peer asks for more than anybody honest needs."""
