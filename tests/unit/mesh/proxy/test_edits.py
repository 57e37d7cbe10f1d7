import pytest

from mesh.model.route import HeaderMutation
from mesh.proxy.edits import NO_EDITS, compile_edits
from mesh.proxy.match import CompileError
from tests.support.observe import head, record


def test_nothing_to_do() -> None:
    edits = compile_edits((HeaderMutation(), HeaderMutation()), "f")
    assert edits is NO_EDITS
    assert not edits


def test_set_replaces_add_appends_remove_removes() -> None:
    edits = compile_edits((HeaderMutation(set=(("x-a", "1"),), add=(("x-b", "2"),), remove=("x-c",)),), "f")
    assert edits.remove == (b"x-c", b"x-a")
    assert edits.static == b"x-a: 1\r\nx-b: 2\r\n"
    assert edits


def test_several_adds_keep_their_order() -> None:
    edits = compile_edits((HeaderMutation(add=(("x", "1"), ("x", "2"))),), "f")
    assert (edits.remove, edits.static) == ((), b"x: 1\r\nx: 2\r\n")


def test_the_later_level_sees_what_the_earlier_one_did() -> None:
    share, route = HeaderMutation(add=(("x", "share"), ("y", "share"))), HeaderMutation(set=(("x", "route"),), remove=("y",))
    edits = compile_edits((share, route), "f")
    assert (set(edits.remove), edits.static) == ({b"x", b"y"}, b"x: route\r\n")


def test_what_is_not_known_is_nothing_and_a_value_of_nothing_no_header() -> None:
    mutation = HeaderMutation(add=(("x-a", "%REQ(none)%"), ("x-b", "<%REQ(none)%>"), ("x-c", "")))
    assert compile_edits((mutation,), "f").lines(record(head())) == b"x-b: <>\r\nx-c: \r\n"


def test_operators_are_evaluated_per_request() -> None:
    edits = compile_edits(
        (HeaderMutation(set=(("x-client", "%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%"), ("x-a", "1"), ("x-u", "<%REQ(user-agent)%>")),),),
        "f",
    )
    assert edits.static is None
    assert edits.lines(record(head("GET", "/", "h", user_agent="curl"))) == b"x-client: 10.0.0.9\r\nx-a: 1\r\nx-u: <curl>\r\n"


def test_percent_signs_are_written_twice() -> None:
    assert compile_edits((HeaderMutation(set=(("x", "50%%"),)),), "f").static == b"x: 50%\r\n"


@pytest.mark.parametrize(
    ("mutation", "words"),
    [
        (HeaderMutation(set=(("a b", "1"),)), "not a header name"),
        (HeaderMutation(set=((":path", "1"),)), "not a header name"),
        (HeaderMutation(remove=("Host",)), "proxy's own"),
        (HeaderMutation(set=(("Content-Length", "1"),)), "proxy's own"),
        (HeaderMutation(set=(("x", "a\r\nb: c"),)), "control character"),
        (HeaderMutation(set=(("x", "%NOPE%"),)), "unknown command operator %NOPE%"),
        (HeaderMutation(set=(("x", "50%"),)), "percent sign"),
    ],
)
def test_what_would_break_a_head_is_refused(mutation: HeaderMutation, words: str) -> None:
    with pytest.raises(CompileError, match=words):
        compile_edits((mutation,), "f")
