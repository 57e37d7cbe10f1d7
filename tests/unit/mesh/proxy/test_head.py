import pytest

from mesh.proxy.head import is_grpc
from tests.support.observe import head


@pytest.mark.parametrize(
    ("content_type", "expected"),
    [
        ("application/grpc", True),
        ("application/grpc+proto", True),
        ("application/grpc; charset=x", True),
        ("application/grpc-web", False),
        ("application/json", False),
    ],
)
def test_grpc_is_known_by_its_content_type(content_type: str, expected: bool) -> None:
    assert is_grpc(head("POST", "/", content_type=content_type)) is expected


def test_a_request_without_content_type_is_not_grpc() -> None:
    assert not is_grpc(head())


def test_only_posts_are_grpc() -> None:
    assert not is_grpc(head("GET", "/", "h", content_type="application/grpc"))
