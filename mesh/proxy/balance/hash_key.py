"""Hash keys: what a route hashes to keep a client on one endpoint (Envoy `RouteAction.HashPolicy`)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from mesh.model.route import HashKind, HashPolicy
from mesh.proxy.balance.xxhash64 import xxh64
from mesh.proxy.head import Head
from mesh.proxy.match import CompileError, query_value

_MASK = (1 << 64) - 1


@dataclass(frozen=True, slots=True)
class HashKey:
    """value: None when no policy found anything to hash (then the pick is random).

    set_cookie: a whole Set-Cookie line for the response, when a cookie had to be made.
    """

    value: int | None
    set_cookie: bytes = b""


class CompiledHash:
    """The policies of one route, in order; those after a terminal one that found a value do not count."""

    __slots__ = ("_policies",)

    def __init__(self, policies: tuple[HashPolicy, ...], field: str) -> None:
        for policy in policies:
            if policy.kind is not HashKind.SOURCE_IP and not policy.name:
                raise CompileError(f"{field}: a {policy.kind.value} hash policy needs a name")
        self._policies = tuple((policy, policy.name.lower().encode(), policy.name.encode()) for policy in policies)

    def of(self, head: Head, remote_ip: str, random_bits: Callable[[int], int]) -> HashKey:
        """Args: remote_ip: the client's address without port; random_bits: `random.getrandbits`, for new cookies."""
        combined: int | None = None
        set_cookie = b""
        for policy, lower, name in self._policies:
            value, made = _value(policy, lower, name, head, remote_ip, random_bits)
            set_cookie += made
            if value is None:
                continue
            hashed = xxh64(value)
            # Envoy: each further policy's hash is XORed into the rotated one.
            combined = hashed if combined is None else ((combined << 1 | combined >> 63) & _MASK) ^ hashed
            if policy.terminal:
                break
        return HashKey(combined, set_cookie)


def _value(
    policy: HashPolicy, lower: bytes, name: bytes, head: Head, remote_ip: str, random_bits: Callable[[int], int]
) -> tuple[bytes | None, bytes]:
    if policy.kind is HashKind.HEADER:
        return head.get(lower) if lower not in (b":authority", b"host") else head.authority, b""
    if policy.kind is HashKind.SOURCE_IP:
        return remote_ip.encode() or None, b""
    if policy.kind is HashKind.QUERY:
        return query_value(head.query, name), b""
    found = cookie_value(head.get(b"cookie"), name)
    if found is not None or policy.cookie_ttl_seconds is None:
        return found, b""
    made = b"%016x" % random_bits(64)
    return made, _set_cookie(name, made, policy)


def cookie_value(header: bytes | None, name: bytes) -> bytes | None:
    """A cookie's value, without the quotes it may have. Several Cookie headers may have been joined by "," or ";"."""
    if header is None:
        return None
    for pair in header.replace(b",", b";").split(b";"):
        key, equals, value = pair.strip().partition(b"=")
        if equals and key == name:
            return value.strip(b'"')
    return None


def _set_cookie(name: bytes, value: bytes, policy: HashPolicy) -> bytes:
    # As Envoy writes it; a session cookie (ttl 0) has no Max-Age.
    line = b'set-cookie: %b="%b"' % (name, value)
    if policy.cookie_ttl_seconds:
        line += b"; Max-Age=%d" % policy.cookie_ttl_seconds
    if policy.cookie_path:
        line += b"; Path=" + policy.cookie_path.encode()
    return line + b"; HttpOnly\r\n"
