"""What a pattern on the wire stands for."""

import re

import pytest

from mesh.model.match import PathKind, PathMatch
from mesh.xds.wire import segment_removal


@pytest.mark.parametrize(
    ("value", "ignore_case", "path", "expected"),
    [
        ("/a.b", False, "/a.b", "/"),
        ("/a.b", False, "/a.b/", "/"),
        ("/a.b", False, "/a.b/c/a.b", "/c/a.b"),
        ("/a.b", False, "/a.b//c", "//c"),
        ("/a.b", False, "/aXb/c", "/aXb/c"),
        ("/a", True, "/A/b", "/b"),
    ],
)
def test_a_segment_is_removed_with_one_slash(value: str, ignore_case: bool, path: str, expected: str) -> None:
    pattern = segment_removal(PathMatch(PathKind.SEGMENT_PREFIX, value, ignore_case))
    assert re.sub(pattern, "/", path) == expected
