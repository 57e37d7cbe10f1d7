"""Names and values from configuration."""

import pytest

from mesh.codec.headers import canonical, is_name, is_value, line, tokens


@pytest.mark.parametrize("name", [b"x", b"X-Request-Id", b"a!#$%&'*+.^_`|~1"])
def test_names(name: bytes) -> None:
    assert is_name(name)


@pytest.mark.parametrize("name", [b"", b":path", b"a b", b"a:", b"a\r\nb", b"caf\xc3\xa9", b"a\x00"])
def test_no_names(name: bytes) -> None:
    assert not is_name(name)


@pytest.mark.parametrize("value", [b"", b"a b", b"a\tb", b"caf\xc3\xa9", b'"q"'])
def test_values(value: bytes) -> None:
    assert is_value(value)


@pytest.mark.parametrize("value", [b" a", b"a\t", b"a\r\nX: b", b"a\nb", b"a\x00", b"a\x7f"])
def test_no_values(value: bytes) -> None:
    assert not is_value(value)


def test_canonical() -> None:
    assert canonical("X-Request-ID") == b"x-request-id"
    with pytest.raises(ValueError, match="'x y' is not a header name"):
        canonical("x y")
    with pytest.raises(ValueError, match="is not a header name"):
        canonical("x-日本")


def test_line() -> None:
    assert line(b"X-A", b"b c") == b"X-A: b c\r\n"
    with pytest.raises(ValueError, match="X-A"):
        line(b"X-A", b"b\r\nX-B: c")
    with pytest.raises(ValueError, match="not a header name"):
        line(b"X A", b"b")


def test_tokens() -> None:
    assert tokens(b" Close , ,keep-alive,\tTE ") == [b"close", b"keep-alive", b"te"]
    assert tokens(b"") == []
