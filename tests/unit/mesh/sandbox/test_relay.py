"""What Forwarder, Egress and Reach share; the relay itself under load is in test_forward.py."""

import pytest

from mesh.sandbox.relay import parse_address


@pytest.mark.parametrize(("text", "found"), [("127.0.0.1:80", ("127.0.0.1", 80)), ("[::1]:443", ("::1", 443)), ("::1:443", ("::1", 443))])
def test_addresses(text: str, found: tuple[str, int]) -> None:
    assert parse_address(text) == found


@pytest.mark.parametrize("text", ["localhost:80", "127.0.0.1", "127.0.0.1:", "127.0.0.1:http", "", "300.0.0.1:1"])
def test_names_and_nonsense_are_no_addresses(text: str) -> None:
    with pytest.raises(ValueError, match="is not <ip>:<port>"):
        parse_address(text)
