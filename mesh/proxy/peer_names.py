"""Peer names: who a certificate says its owner is, and the tests of whether that is whom we meant."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from ipaddress import ip_address

from mesh.model.match import StringKind, StringMatch
from mesh.proxy.match import string_test

PeerCertificate = Mapping[str, object]
"""As `ssl.SSLObject.getpeercert` returns it."""
NameTest = Callable[[str, bytes], bool]
"""(kind of the alternative name as Python calls it, its value)."""


def alternative_names(certificate: PeerCertificate) -> tuple[tuple[str, str], ...]:
    """(kind, value): kinds are DNS, URI, IP Address, email."""
    names = certificate.get("subjectAltName", ())
    assert isinstance(names, tuple)
    return tuple((str(kind), str(value)) for kind, value in names)


def name_tests(names: Iterable[StringMatch]) -> tuple[NameTest, ...]:
    """`name_test` of each. Raises: CompileError."""
    return tuple(name_test(name) for name in names)


def name_test(match: StringMatch) -> NameTest:
    """Does an alternative name fit? Raises: CompileError. Source: Envoy `match_typed_subject_alt_names`."""
    test = string_test(match, "subject_alt_names")
    if match.kind is not StringKind.EXACT:
        return lambda _kind, value: test(value)
    wanted = match.value.lower()
    _, _, domain = wanted.partition(".")
    wildcard = f"*.{domain}".encode() if domain else None

    def exact(kind: str, value: bytes) -> bool:
        if kind == "DNS":
            # RFC 6125 6.4.3: a certificate's wildcard stands for one label, the leftmost.
            return value.lower() in (wanted.encode(), wildcard)
        if kind == "IP Address":
            return _is_same_ip(wanted, value.decode())
        return test(value)

    return exact


def _is_same_ip(one: str, other: str) -> bool:
    try:
        return ip_address(one) == ip_address(other.strip())
    except ValueError:
        return False
