"""What a sans-I/O codec says: the end of a body, need of more bytes, or a protocol error."""

from enum import Enum, IntEnum
from typing import Final


class ProtocolError(Exception):
    """The peer's bytes break the protocol; nothing after them on this connection can be trusted.

    Attributes:
        status: what a server answers before it closes (400, 414, 431, 501, 505); 502 when the peer is the
            upstream server.
        message: names the byte offset (from the start of the message part at fault) or the field.
    """

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.message = message

    def __reduce__(self) -> tuple[type["ProtocolError"], tuple[int, str]]:
        return ProtocolError, (self.status, self.message)


class End(Enum):
    """The type of END, so that `bytes | None | End` can be narrowed with `is`."""

    END = "END"

    def __repr__(self) -> str:
        return "END"


END: Final = End.END
"""The message's body is complete."""

NEED_DATA: Final = None
"""The codec needs more bytes before it can say anything."""


class Framing(IntEnum):
    """What `encode_request` and `encode_response` do with Content-Length and Transfer-Encoding."""

    KEEP = 0
    """Forward them: the body follows with the framing it arrived with."""
    NONE = 1
    """Drop both: the body ends with the connection (HTTP/1.0 receivers), or there is none."""
    CHUNKED = 2
    """Drop both, announce chunked: the caller frames the body with `encode_chunk`."""
