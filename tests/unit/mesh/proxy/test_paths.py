import pytest

from mesh.codec.h1 import RequestHead, RequestParser
from mesh.proxy.paths import BadPath, normalize, with_path


@pytest.mark.parametrize(
    ("path", "normal"),
    [
        (b"/", b"/"),
        (b"/a/b", b"/a/b"),
        (b"/a/./b", b"/a/b"),
        (b"/a/../b", b"/b"),
        (b"/a/b/..", b"/a/"),
        (b"/a/.", b"/a/"),
        (b"/a/%2e%2e/b", b"/b"),
        (b"/a%7Eb%2fc", b"/a~b%2fc"),
        (b"/..", b"/"),
        (b"/a/../../b", b"/b"),
        (b"/%", b"/%"),
        (b"/100%/%zz/../%41", b"/100%/A"),
        (b"/%0d%0a", b"/%0d%0a"),
        (b"/a\\..\\b", b"/b"),
        (b"/.well-known/x", b"/.well-known/x"),
        (b"//a//b", b"//a//b"),
    ],
)
def test_normal_forms(path: bytes, normal: bytes) -> None:
    assert normalize(path, merge_slashes=False) == normal
    assert normalize(normal, merge_slashes=False) == normal


def test_slashes_are_merged_only_when_asked() -> None:
    assert normalize(b"//a///b", merge_slashes=True) == b"/a/b"


def test_a_normal_path_is_returned_as_the_same_object() -> None:
    path = b"/productpage"
    assert normalize(path, merge_slashes=False) is path


def test_an_escaped_nul_has_no_normal_form() -> None:
    with pytest.raises(BadPath):
        normalize(b"/a%00", merge_slashes=False)


def head_of(line: bytes) -> RequestHead:
    parser = RequestParser()
    parser.feed(line + b"\r\nHost: a\r\nContent-Length: 3\r\n\r\n")
    head = parser.head()
    assert head is not None
    return head


@pytest.mark.parametrize(
    ("line", "target"),
    [
        (b"GET /x/../y?q=/../ HTTP/1.1", b"/y?q=/../"),
        (b"GET http://b.example/x/../y HTTP/1.1", b"http://b.example/y"),
    ],
)
def test_only_the_path_of_a_head_changes(line: bytes, target: bytes) -> None:
    head = head_of(line)
    changed = with_path(head, b"/y")
    assert (changed.target, changed.path, changed.query) == (target, b"/y", head.query)
    assert (changed.authority, changed.content_length) == (head.authority, 3)
