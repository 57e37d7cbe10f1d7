"""Addresses and prefixes."""

import pytest

from mesh.model.addr import Address, Cidr


def test_ipv6_addresses_are_bracketed():
    assert [str(Address("198.18.0.1", 80)), str(Address("::1", 80))] == ["198.18.0.1:80", "[::1]:80"]


@pytest.mark.parametrize(("text", "parsed"), [("10.1.2.3/8", "10.0.0.0/8"), ("10.1.2.3", "10.1.2.3/32"), ("2001:db8::1/32", "2001:db8::/32")])
def test_prefixes_are_masked(text, parsed):
    assert str(Cidr.parse(text)) == parsed


def test_a_malformed_prefix_is_named():
    with pytest.raises(ValueError, match=r"10\.0\.0/33x"):
        Cidr.parse("10.0.0/33x")


def test_membership_is_the_standard_library_s():
    assert str(Cidr.parse("198.18.0.0/15").network().broadcast_address) == "198.19.255.255"
