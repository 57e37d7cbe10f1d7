"""Addresses: where a listener binds, an endpoint lives or a rule points."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, order=True)
class Address:
    """A TCP address: an IPv4 or IPv6 literal (or, for DNS clusters, a host name) and a port."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


@dataclass(frozen=True, slots=True, order=True)
class Cidr:
    """A network prefix (Envoy `CidrRange`). `host` is the network's address, already masked."""

    host: str
    prefix_length: int

    @classmethod
    def parse(cls, text: str) -> Cidr:
        """`10.0.0.0/8`, `10.1.2.3` (a host) or their IPv6 forms. Raises ValueError naming the text."""
        network = ipaddress.ip_network(text, strict=False)
        return cls(str(network.network_address), network.prefixlen)

    def network(self) -> ipaddress.IPv4Network | ipaddress.IPv6Network:
        """The same prefix as the standard library's type, for membership tests at compile time."""
        return ipaddress.ip_network((self.host, self.prefix_length))

    def __str__(self) -> str:
        return f"{self.host}/{self.prefix_length}"
