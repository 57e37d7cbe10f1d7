"""Edits: what a route does to a head, compiled to names to leave out and lines to append.

`remove`, `set` and `add` of several levels (share, then route) fold into one pair: every name that is removed or set
is left out of the incoming head, every value that is set or added becomes a line at its end. A repeated line is
equal in meaning to a comma-joined value (RFC 9110 5.3).
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from mesh.model.route import HeaderMutation
from mesh.proxy.match import CompileError
from mesh.proxy.observe.record import Record
from mesh.proxy.operators import Getter, parse

_TOKEN = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
# Framing and routing belong to the proxy; Envoy refuses `:`-names and Host in the same way.
_FORBIDDEN = frozenset({"host", "connection", "transfer-encoding", "content-length", "upgrade", "te", "keep-alive"})


@dataclass(frozen=True, slots=True)
class Edits:
    """remove: lower-case names to leave out of the incoming head.

    static: the lines to append (`name: value\\r\\n`…) when no value depends on the request; else None and
    `lines(record)` has to be called. A falsy Edits changes nothing.
    """

    remove: tuple[bytes, ...] = ()
    static: bytes | None = b""
    _parts: tuple[bytes | tuple[str | Getter, ...], ...] = ()

    def __bool__(self) -> bool:
        return bool(self.remove or self.static or self._parts)

    def lines(self, record: Record) -> bytes:
        """The lines to append, with operators evaluated for this exchange."""
        if self.static is not None:
            return self.static
        return b"".join(part if isinstance(part, bytes) else _evaluate(part, record) for part in self._parts)


NO_EDITS = Edits()


def compile_edits(mutations: Iterable[HeaderMutation], field: str) -> Edits:
    """Fold mutations, the most specific first (Envoy: weighted cluster, then route), into one.

    Raises CompileError for a name that is not a token or belongs to the proxy, a value that would break the
    head apart, an unknown operator.
    """
    removed: dict[bytes, None] = {}
    lines: list[tuple[bytes, str]] = []
    for mutation in mutations:
        for name in mutation.remove:
            key = _name(name, field)
            removed[key] = None
            lines = [line for line in lines if line[0] != key]
        for name, value in mutation.set:
            key = _name(name, field)
            removed[key] = None
            lines = [line for line in lines if line[0] != key]
            lines.append((key, value))
        for name, value in mutation.add:
            lines.append((_name(name, field), value))
    if not removed and not lines:
        return NO_EDITS
    parts = [_line(name, value, field) for name, value in lines]
    if all(isinstance(part, bytes) for part in parts):
        return Edits(tuple(removed), b"".join(part for part in parts if isinstance(part, bytes)))
    return Edits(tuple(removed), None, tuple(parts))


def _name(name: str, field: str) -> bytes:
    if not _TOKEN.fullmatch(name):
        raise CompileError(f"{field}: {name!r} is not a header name")
    lower = name.lower()
    if lower in _FORBIDDEN:
        raise CompileError(f"{field}: the header {lower} is the proxy's own and cannot be edited")
    return lower.encode()


def _line(name: bytes, value: str, field: str) -> bytes | tuple[str | Getter, ...]:
    if any((ord(char) < 32 and char != "\t") or ord(char) == 127 for char in value):
        raise CompileError(f"{field}: the value of {name.decode()} holds a control character")
    parts = parse(value, f"{field} {name.decode()}")
    if all(isinstance(part, str) for part in parts):
        text = "".join(part for part in parts if isinstance(part, str))
        return b"%b: %b\r\n" % (name, text.encode())
    return (f"{name.decode()}: ", *parts)


def _evaluate(parts: tuple[str | Getter, ...], record: Record) -> bytes:
    # Values come from other headers and addresses, which the codec has already freed of line breaks.
    head, *rest = parts
    # Envoy: what is not known is nothing here (in a log it is "-"), and a value of nothing is no header.
    values = (part if isinstance(part, str) else part(record) for part in rest)
    value = "".join("" if value is None else str(value) for value in values)
    return f"{head}{value}\r\n".encode("latin-1", errors="replace") if value else b""
