"""Paths: normalisation before routing, so that `/public/../admin` is judged as the `/admin` it is.

Source: Envoy `normalize_path` (RFC 3986 6.2.2: unreserved characters decoded, dot segments removed, backslash taken
for a slash as browsers do) and `merge_slashes`. `%2F` stays as it is: it is data, not a separator. So does a percent
sign that begins no escape, and the case of the digits of one: apps have seen them so for ever.
"""

from __future__ import annotations

import re

from mesh.codec.h1 import Limits, RequestHead, RequestParser

_SUSPICIOUS = re.compile(rb"/\.|%|\\")
_ESCAPE = re.compile(rb"%([0-9A-Fa-f]{2})")
_UNRESERVED = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~")
_SLASHES = re.compile(rb"//+")


class BadPath(ValueError):
    """The path cannot be normalised: it holds an escaped NUL."""


def normalize(path: bytes, merge_slashes: bool) -> bytes:
    """The normal form of a path without query; the same object when it already is. Raises: BadPath."""
    if _SUSPICIOUS.search(path) is not None:
        path = _resolve(_decode(path).replace(b"\\", b"/"))
    if merge_slashes and b"//" in path:
        path = _SLASHES.sub(b"/", path)
    return path


def with_path(head: RequestHead, path: bytes) -> RequestHead:
    """The same head with another path: what the wire would have carried, had the client normalised itself."""
    target = path + b"?" + head.query if b"?" in head.target else path
    if head.target[:1] != b"/":
        target = head.target[: head.target.index(b"://") + 3] + head.authority + target
    parser = RequestParser(Limits(max_head_bytes=len(head.raw) + len(target), max_headers=head.count))
    parser.feed(head.raw.replace(b" " + head.target + b" ", b" " + target + b" ", 1))
    changed = parser.head()
    assert changed is not None
    return changed


def _decode(path: bytes) -> bytes:
    def unescape(match: re.Match[bytes]) -> bytes:
        byte = int(match[1], 16)
        if byte == 0:
            raise BadPath("an escaped NUL")
        return bytes((byte,)) if byte in _UNRESERVED else match[0]

    return _ESCAPE.sub(unescape, path)


def _resolve(path: bytes) -> bytes:
    # RFC 3986 5.2.4: ".." at the root is the root.
    kept: list[bytes] = []
    segments = path.split(b"/")[1:]
    for i, segment in enumerate(segments):
        is_last = i == len(segments) - 1
        if segment == b"..":
            del kept[-1:]
        elif segment != b".":
            kept.append(segment)
            continue
        if is_last:
            kept.append(b"")
    return b"/" + b"/".join(kept)
