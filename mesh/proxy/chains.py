"""Filter chain choice: which chain of a listener serves a connection, in Envoy's order of specificity.

Envoy narrows by destination port, destination prefix, server name, transport protocol, application protocols,
source prefix and source port, in this order and without going back: a chain that names the port hides all
chains that do not, even when it fails a later test. Source: Envoy `FilterChainMatch`.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Generic, TypeVar

from mesh.model.addr import Address, Cidr
from mesh.model.listener import ChainMatch, FilterChain, Listener, TcpProxy

_RAW = "raw_buffer"
_HTTP = frozenset(("http/1.0", "http/1.1", "h2c"))
Owner = TypeVar("Owner")


@dataclass(frozen=True, slots=True)
class Inspected:
    """What the first bytes of a connection say. transport: "raw_buffer" or "tls"."""

    transport: str = _RAW
    server_name: str = ""
    protocols: tuple[str, ...] = ()


NOTHING = Inspected()


class ChainTable:
    """The chains of one listener, ready for look-ups. Pure; compiled once per listener version."""

    __slots__ = ("_by_port", "_default", "listener")

    def __init__(self, listener: Listener) -> None:
        self.listener = listener
        self._default = listener.default_chain
        ports: dict[int | None, list[FilterChain]] = {None: []}
        for chain in listener.chains:
            ports.setdefault(chain.match.destination_port, []).append(chain)
        self._by_port = {port: tuple(chains) for port, chains in ports.items()}

    def candidates(self, destination: Address) -> tuple[FilterChain, ...]:
        """Chains that the destination alone allows."""
        chains = self._by_port.get(destination.port) or self._by_port[None]
        if len(chains) == 1 and not chains[0].match.prefix_ranges:
            return chains
        return _most_specific(chains, lambda chain: _prefix_rank(chain.match.prefix_ranges, destination.host))

    def choose(self, candidates: Sequence[FilterChain], inspected: Inspected, source: Address) -> FilterChain | None:
        """The chain for what was learnt; the listener's default chain, or None, when none fits."""
        chains = tuple(candidates)
        if len(chains) == 1 and chains[0].match.is_empty:
            return chains[0]
        chains = _most_specific(chains, lambda chain: _name_rank(chain.match.server_names, inspected.server_name))
        chains = _most_specific(chains, lambda chain: _transport_rank(chain.match, inspected.transport))
        chains = _most_specific(chains, lambda chain: _protocol_rank(chain.match, inspected.protocols))
        chains = _most_specific(chains, lambda chain: _prefix_rank(chain.match.source_prefix_ranges, source.host))
        chains = _most_specific(chains, lambda chain: _port_rank(chain.match.source_ports, source.port))
        return chains[0] if chains else self._default

    def opaque(self, candidates: Sequence[FilterChain], source: Address) -> FilterChain | None:
        """What serves the connection if its server speaks first; None when that is no plain TCP proxy."""
        chain = self.choose(candidates, NOTHING, source)
        return chain if chain is not None and isinstance(chain.filter, TcpProxy) and chain.tls is None else None


def needs_inspection(candidates: Sequence[FilterChain]) -> bool:
    """True when the client's first bytes decide between the candidates."""
    return any(
        chain.match.server_names or chain.match.transport_protocol or chain.match.application_protocols
        for chain in candidates
    )


def needs_http(candidates: Sequence[FilterChain]) -> bool:
    """True when plaintext protocols have to be told apart, not just TLS from everything else."""
    return any(not _HTTP.isdisjoint(chain.match.application_protocols) for chain in candidates)


class ListenerTable(Generic[Owner]):
    """What belongs to listeners that are never bound: found by the destination the client meant."""

    __slots__ = ("_exact", "_wildcard")

    def __init__(self, listeners: Iterable[tuple[Listener, Owner]]) -> None:
        self._exact: dict[tuple[str, int], Owner] = {}
        self._wildcard: dict[tuple[bool, int], Owner] = {}
        for listener, owner in listeners:
            for address in (listener.address, *listener.additional_addresses):
                if address.host in ("0.0.0.0", "::"):
                    self._wildcard[address.host == "::", address.port] = owner
                else:
                    self._exact[address.host, address.port] = owner

    def find(self, destination: Address) -> Owner | None:
        """Exact `ip:port` first, then the wildcard of the address family; `[::]` serves IPv4 too, as in Envoy."""
        found = self._exact.get((destination.host, destination.port))
        if found is None:
            found = self._wildcard.get((":" in destination.host, destination.port))
        if found is None:
            found = self._wildcard.get((True, destination.port))
        return found


def _most_specific(chains: tuple[FilterChain, ...], rank: Callable[[FilterChain], int]) -> tuple[FilterChain, ...]:
    # rank: -1 = does not match; otherwise the higher the more specific.
    best = -1
    kept: list[FilterChain] = []
    for chain in chains:
        value = rank(chain)
        if value > best:
            best, kept = value, [chain]
        elif value == best and value >= 0:
            kept.append(chain)
    return tuple(kept)


def _prefix_rank(ranges: tuple[Cidr, ...], host: str) -> int:
    if not ranges:
        return 0
    address = ipaddress.ip_address(host)
    return max((1 + cidr.prefix_length for cidr in ranges if address in _network(cidr)), default=-1)


@lru_cache(maxsize=4096)
def _network(cidr: Cidr) -> ipaddress.IPv4Network | ipaddress.IPv6Network:
    return cidr.network()


def _name_rank(names: tuple[str, ...], server_name: str) -> int:
    if not names:
        return 0
    if server_name in names:
        return 1 << 16
    return max((len(name) for name in names if name[:2] == "*." and server_name.endswith(name[1:])), default=-1)


def _transport_rank(match: ChainMatch, transport: str) -> int:
    if not match.transport_protocol:
        return 0
    return 1 if match.transport_protocol == transport else -1


def _protocol_rank(match: ChainMatch, protocols: tuple[str, ...]) -> int:
    # Envoy tries the client's protocols in the client's order of preference.
    if not match.application_protocols:
        return 0
    return max(
        (len(protocols) - i for i, name in enumerate(protocols) if name in match.application_protocols), default=-1
    )


def _port_rank(ports: tuple[int, ...], port: int) -> int:
    if not ports:
        return 0
    return 1 if port in ports else -1
