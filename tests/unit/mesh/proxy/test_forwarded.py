import pytest

from mesh.codec.h1 import RequestHead, RequestParser
from mesh.model.listener import HttpManager
from mesh.proxy.forwarded import INTERNAL, forwarded_lines, scheme_of
from mesh.proxy.observe.record import CertificateRule, Connection, Record

CERTIFICATE = b"x-forwarded-client-cert"


def head_of(lines: bytes) -> RequestHead:
    parser = RequestParser()
    parser.feed(b"GET / HTTP/1.1\r\nHost: a\r\n" + lines + b"\r\n")
    head = parser.head()
    assert head is not None
    return head


def lines_of(lines: bytes, **manager: object) -> tuple[tuple[bytes, ...], bytes]:
    record = Record(head_of(lines), Connection("[fd00::1]:4711"), 0.0)
    return forwarded_lines(record, HttpManager("test", **manager))  # type: ignore[arg-type]


def test_inside_the_mesh_only_a_missing_scheme_is_added() -> None:
    assert lines_of(b"") == ((*INTERNAL, CERTIFICATE), b"x-forwarded-proto: http\r\n")
    assert lines_of(b"x-forwarded-proto: https\r\nx-forwarded-for: 1.1.1.1\r\n") == ((*INTERNAL, CERTIFICATE), b"")


@pytest.mark.parametrize("edge", [False, True])
@pytest.mark.parametrize(
    ("rule", "is_removed", "line"),
    [
        (CertificateRule.REMOVE, True, None),
        (CertificateRule.KEEP, False, None),
        (CertificateRule.REPLACE, True, b"x-forwarded-client-cert: By=me\r\n"),
        (CertificateRule.APPEND, True, b"x-forwarded-client-cert: Hash=1,By=me\r\n"),
    ],
)
def test_what_becomes_of_the_certificate_header(
    rule: CertificateRule, is_removed: bool, line: bytes | None, edge: bool
) -> None:
    connection = Connection("1.2.3.4:5", client_certificate=b"By=me", certificate_rule=rule)
    head = head_of(b"x-forwarded-client-cert: Hash=1\r\nx-forwarded-proto: http\r\n")
    manager = HttpManager("test", use_remote_address=edge, xff_trusted_hops=1)
    remove, lines = forwarded_lines(Record(head, connection, 0.0), manager)
    assert (CERTIFICATE in remove) is is_removed
    assert [each for each in lines.splitlines(keepends=True) if each.startswith(CERTIFICATE)] == ([line] if line else [])
    head = head_of(b"")
    remove, lines = forwarded_lines(Record(head, connection, 0.0), manager)
    assert (b"x-forwarded-client-cert: By=me\r\n" in lines) is rule.adds


def test_the_edge_appends_the_client_and_overrides_the_scheme() -> None:
    remove, lines = lines_of(b"x-forwarded-for: 1.1.1.1\r\nx-forwarded-proto: https\r\n", use_remote_address=True)
    assert lines == b"x-forwarded-for: 1.1.1.1,fd00::1\r\nx-forwarded-proto: http\r\n"
    assert {b"x-forwarded-for", b"x-forwarded-proto", b"x-envoy-force-trace"} <= set(remove)


def test_an_edge_behind_a_trusted_proxy_keeps_its_scheme() -> None:
    remove, lines = lines_of(b"x-forwarded-proto: https\r\n", use_remote_address=True, xff_trusted_hops=1)
    assert lines == b"x-forwarded-for: fd00::1\r\n" and b"x-forwarded-proto" not in remove


@pytest.mark.parametrize(
    ("lines", "is_tls", "scheme"),
    [(b"", False, b"http"), (b"", True, b"https"), (b"x-forwarded-proto: https\r\n", False, b"https")],
)
def test_the_scheme(lines: bytes, is_tls: bool, scheme: bytes) -> None:
    assert scheme_of(head_of(lines), is_tls) == scheme
