import pytest

from mesh.proxy.head import is_grpc, protocol_of
from tests.support.observe import head


def test_protocols_are_spelt_as_envoy_does() -> None:
    assert [protocol_of(0), protocol_of(1), protocol_of(1, http2=True)] == ["HTTP/1.0", "HTTP/1.1", "HTTP/2"]


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
