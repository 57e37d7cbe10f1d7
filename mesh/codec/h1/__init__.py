"""HTTP/1 codec, sans-I/O: bytes in, heads and body runs out, and heads back to bytes (RFC 9112).

`parser` turns a connection's bytes into heads and body runs, `encode` turns heads back into bytes, copying what
it keeps. `fields` holds one header section as spans over its bytes, `head` the two kinds of heads, `body` the
framing. Every module is ordinary Python that setup.py also compiles; both forms pass the same tests.
"""

from mesh.codec.events import END, NEED_DATA, Framing, ProtocolError
from mesh.codec.h1.encode import LAST_CHUNK, encode_chunk, encode_request, encode_response
from mesh.codec.h1.fields import Fields
from mesh.codec.h1.head import RequestHead, ResponseHead
from mesh.codec.h1.parser import Limits, RequestParser, ResponseParser

__all__ = [
    "END",
    "LAST_CHUNK",
    "NEED_DATA",
    "Fields",
    "Framing",
    "Limits",
    "ProtocolError",
    "RequestHead",
    "RequestParser",
    "ResponseHead",
    "ResponseParser",
    "encode_chunk",
    "encode_request",
    "encode_response",
]
