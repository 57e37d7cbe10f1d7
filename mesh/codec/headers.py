"""Names and values of header fields that come from configuration, checked before they reach the wire.

What arrives on the wire is checked by `h1.fields`; this is for names and values out of routes and filters, where a
stray CR LF would let a configuration object write whole header lines.
"""

HOP_BY_HOP = frozenset(
    (b"connection", b"keep-alive", b"proxy-connection", b"te", b"transfer-encoding", b"upgrade", b"http2-settings")
)
"""Fields about one connection, never forwarded as they are (RFC 9110 7.6.1; http2-settings: RFC 7540 3.2.1)."""

_TOKEN = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz!#$%&'*+-.^_`|~"
_NOT_IN_VALUES = bytes(c for c in range(256) if (c < 0x20 and c != 9) or c == 0x7F)


def is_name(name: bytes) -> bool:
    """Whether it may name a field (RFC 9110 5.1). HTTP/2 pseudo-headers such as :path are no names."""
    return bool(name) and not name.translate(None, _TOKEN)


def is_value(value: bytes) -> bool:
    """Whether it may be a field's value: no control character but TAB, no blank at either end (RFC 9110 5.5)."""
    return not value or (value == value.strip(b" \t") and len(value.translate(None, _NOT_IN_VALUES)) == len(value))


def canonical(name: str) -> bytes:
    """The name as compared and looked up: lower case bytes.

    Raises: ValueError: it is not a field name.
    """
    raw = name.encode("latin-1", "replace").lower()
    if not is_name(raw):
        raise ValueError(f"{name!r} is not a header name")
    return raw


def line(name: bytes, value: bytes) -> bytes:
    """One header line with its CRLF, ready for `extra` of the encoders.

    Raises: ValueError: name or value would break out of the line.
    """
    if not is_name(name):
        raise ValueError(f"{name!r} is not a header name")
    if not is_value(value):
        raise ValueError(f"{value!r} is not a header value (field {name.decode()})")
    return b"%b: %b\r\n" % (name, value)


def tokens(value: bytes) -> list[bytes]:
    """Elements of a comma-separated list, lower case, empty ones left out (RFC 9110 5.6.1)."""
    return [token for item in value.split(b",") if (token := item.strip(b" \t").lower())]
