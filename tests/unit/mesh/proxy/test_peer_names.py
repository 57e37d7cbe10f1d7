import ssl

import pytest

from mesh.model.match import StringKind, StringMatch
from mesh.proxy.match import CompileError
from mesh.proxy.peer_names import alternative_names, name_test, name_tests, shown_by
from tests.support.proxy_tls import Authority


@pytest.mark.parametrize(
    ("wanted", "kind", "value", "holds"),
    [
        ("a.example.com", "DNS", "a.example.com", True),
        ("A.example.com", "DNS", "a.EXAMPLE.com", True),
        ("a.example.com", "DNS", "*.example.com", True),
        ("x.a.example.com", "DNS", "*.example.com", False),
        ("example.com", "DNS", "*.com", True),
        ("localhost", "DNS", "*.", False),
        ("com", "DNS", "*.", False),
        ("spiffe://a/b", "URI", "spiffe://a/b", True),
        ("spiffe://a/b", "URI", "spiffe://a/B", False),
        ("10.0.0.1", "IP Address", "10.0.0.1", True),
        ("::1", "IP Address", "0:0:0:0:0:0:0:1", True),
        ("10.0.0.1", "IP Address", "10.0.0.2", False),
    ],
)
def test_exact_names(wanted: str, kind: str, value: str, holds: bool) -> None:
    assert name_test(StringMatch(StringKind.EXACT, wanted))(kind, value.encode()) is holds


def test_other_kinds_of_match_compare_the_text() -> None:
    test = name_test(StringMatch(StringKind.PREFIX, "spiffe://mesh/"))
    assert test("URI", b"spiffe://mesh/ns/a") and not test("URI", b"spiffe://other/")


def test_names_of_a_certificate_come_with_their_kind() -> None:
    assert alternative_names({"subjectAltName": (("DNS", "a"), ("URI", "spiffe://b"))}) == (("DNS", "a"), ("URI", "spiffe://b"))
    assert alternative_names({}) == ()


def test_a_bad_pattern_names_its_field() -> None:
    with pytest.raises(CompileError, match="subject_alt_names"):
        name_tests((StringMatch(StringKind.REGEX, "("),))


def shaken(client: ssl.SSLContext, server: ssl.SSLContext, name: str) -> tuple[ssl.SSLObject, ssl.SSLObject]:
    """Both sides of a finished handshake."""
    one, other = ssl.MemoryBIO(), ssl.MemoryBIO()
    ours = client.wrap_bio(one, other, server_hostname=name)
    theirs = server.wrap_bio(other, one, server_side=True)
    for each in (ours, theirs, ours, theirs):
        try:
            each.do_handshake()
        except ssl.SSLWantReadError:
            pass  # the other side's turn
    return ours, theirs


def test_a_certificate_that_nobody_verified_says_nothing_though_another_connection_did() -> None:
    root = Authority()
    server = root.server_context("a.example.com")
    careless = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    careless.check_hostname, careless.verify_mode = False, ssl.CERT_NONE
    for context, names in ((careless, ()), (root.client_context(), (("DNS", "a.example.com"),)), (careless, ())):
        shown = shown_by(shaken(context, server, "a.example.com")[0])
        assert shown is not None and shown.der
        assert alternative_names(shown.decoded) == names


def test_the_same_certificate_is_decoded_once_and_none_is_none() -> None:
    root = Authority()
    server, client = root.server_context("a.example.com"), root.client_context()
    first, theirs = shaken(client, server, "a.example.com")
    again, _ = shaken(client, server, "a.example.com")
    assert shown_by(first) is shown_by(again)
    assert shown_by(theirs) is None
