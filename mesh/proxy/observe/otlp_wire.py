"""OTLP on the wire: spans to the bytes of an ExportTraceServiceRequest, and the count in its response.

Written by hand because the one published Python package of these messages is overwritten in site-packages by an old copy
inside xds-protos (which of the two is there depends on the order of installation), and because it is a page.
Source: opentelemetry-proto, trace/v1/trace.proto, common/v1/common.proto; protobuf encoding.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence

from mesh.proxy.observe.span import Span

# Wire types.
_VARINT, _FIXED64, _BYTES = 0, 1, 2
_STATUS_ERROR = b"\x18\x02"  # Status.code = STATUS_CODE_ERROR
_FIXED = struct.Struct("<Q")

Attribute = tuple[str, str | int | bool]


def encode_request(spans: Iterable[Span], resource: Sequence[Attribute] = ()) -> bytes:
    """One request, spans grouped by the service they belong to. resource: attributes every group has."""
    groups: dict[str, list[bytes]] = {}
    for span in spans:
        groups.setdefault(span.service, []).append(_field(2, _span(span)))
    scope = _field(1, _field(1, b"triomesh"))
    parts = []
    for service, encoded in groups.items():
        attributes = b"".join(_field(1, _attribute(item)) for item in (("service.name", service), *resource))
        parts.append(_field(1, _field(1, attributes) + _field(2, scope + b"".join(encoded))))
    return b"".join(parts)


def decode_rejected(response: bytes) -> int:
    """`partial_success.rejected_spans` of an ExportTraceServiceResponse; 0 when it is absent or unreadable."""
    partial = _find(response, 1)
    rejected = _find(partial, 1) if isinstance(partial, bytes) else None
    return rejected if isinstance(rejected, int) else 0


def _span(span: Span) -> bytes:
    parts = [
        _field(1, bytes.fromhex(span.trace_id.decode())),
        _field(2, bytes.fromhex(span.span_id.decode())),
        _field(3, span.trace_state.encode()) if span.trace_state else b"",
        _field(4, bytes.fromhex(span.parent_id.decode())) if span.parent_id else b"",
        _field(5, span.name.encode()),
        bytes((6 << 3 | _VARINT, int(span.kind))),
        bytes((7 << 3 | _FIXED64,)) + _FIXED.pack(span.start_ns),
        bytes((8 << 3 | _FIXED64,)) + _FIXED.pack(max(span.start_ns, span.end_ns)),
        *(_field(9, _attribute(item)) for item in span.attributes),
    ]
    if span.is_error:
        parts.append(_field(15, _STATUS_ERROR))
    return b"".join(parts)


def _attribute(item: Attribute) -> bytes:
    key, value = item
    if isinstance(value, bool):
        encoded = bytes((2 << 3 | _VARINT, value))
    elif isinstance(value, int):
        encoded = bytes((3 << 3 | _VARINT,)) + _varint(value & (1 << 64) - 1)
    else:
        encoded = _field(1, value.encode())
    return _field(1, key.encode()) + _field(2, encoded)


def _field(number: int, value: bytes) -> bytes:
    return bytes((number << 3 | _BYTES,)) + _varint(len(value)) + value


def _varint(value: int) -> bytes:
    if value < 0x80:
        return bytes((value,))
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def _find(message: bytes, wanted: int) -> bytes | int | None:
    """The first field with that number, if it is a varint or length-delimited; None when there is none."""
    position = 0
    while position < len(message):
        key, position = _read_varint(message, position)
        value: bytes | int
        match key & 7:
            case 0:
                value, position = _read_varint(message, position)
            case 2:
                size, position = _read_varint(message, position)
                value, position = message[position : position + size], position + size
            case 1:
                value, position = b"", position + 8
            case 5:
                value, position = b"", position + 4
            case _:
                return None
        if key >> 3 == wanted:
            return value
    return None


def _read_varint(message: bytes, position: int) -> tuple[int, int]:
    value = shift = 0
    while position < len(message):
        byte = message[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            break
        shift += 7
    return value, position
