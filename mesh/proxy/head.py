"""Heads as the data plane's decisions see them: bytes, whatever codec made them."""

from __future__ import annotations

from typing import Protocol


class Head(Protocol):
    """A request's head (`codec.h1` and `codec.h2` make them). Header names are asked for in lower case."""

    @property
    def method(self) -> bytes: ...

    @property
    def target(self) -> bytes: ...

    @property
    def path(self) -> bytes: ...

    @property
    def query(self) -> bytes: ...

    @property
    def authority(self) -> bytes: ...

    @property
    def minor(self) -> int: ...

    def get(self, name: bytes, /) -> bytes | None:
        """The header's value; the values of a repeated header joined by ","; None when it is absent."""
        ...

    def get_all(self, name: bytes, /) -> list[bytes]:
        """One value per line of the header."""
        ...


class Answer(Protocol):
    """A response's head, or its trailers, as far as decisions look at it."""

    def get(self, name: bytes, /) -> bytes | None: ...


def is_grpc(head: Head) -> bool:
    """True for a gRPC request: a POST whose content type is `application/grpc` or `application/grpc+…`."""
    if head.method != b"POST":
        return False
    content_type = head.get(b"content-type")
    if content_type is None or not content_type.startswith(b"application/grpc"):
        return False
    return len(content_type) == 16 or content_type[16:17] in (b"+", b";", b" ")
