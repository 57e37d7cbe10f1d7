import pytest

from mesh.model.match import StringKind, StringMatch
from mesh.proxy.match import CompileError
from mesh.proxy.peer_names import alternative_names, name_test, name_tests


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
