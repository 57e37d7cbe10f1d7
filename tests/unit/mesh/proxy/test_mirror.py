import pytest

from mesh.proxy.mirror import shadow


@pytest.mark.parametrize(
    ("authority", "copy"),
    [
        (b"reviews", b"reviews-shadow"),
        (b"reviews:9080", b"reviews-shadow:9080"),
        (b"[fd00::1]", b"[fd00::1]-shadow"),
        (b"[fd00::1]:80", b"[fd00::1]-shadow:80"),
        (b"", b"-shadow"),
    ],
)
def test_the_copys_host(authority: bytes, copy: bytes) -> None:
    assert shadow(authority) == copy
