import pytest

from mesh.model.addr import Address, Cidr
from mesh.model.listener import ChainMatch, FilterChain, Listener, TcpProxy
from mesh.model.route import WeightedCluster
from mesh.proxy.chains import NOTHING, ChainTable, Inspected, ListenerTable, needs_inspection

SOURCE = Address("10.0.0.9", 4711)


def chain(name: str, **match: object) -> FilterChain:
    return FilterChain(TcpProxy(name, (WeightedCluster(name),)), ChainMatch(**match), name)  # type: ignore[arg-type]


def chosen(chains: tuple[FilterChain, ...], destination: Address, inspected: Inspected = NOTHING) -> str | None:
    table = ChainTable(Listener("l", chains=chains))
    found = table.choose(table.candidates(destination), inspected, SOURCE)
    return found.name if found is not None else None


@pytest.mark.parametrize(
    ("destination", "name"),
    [
        (Address("10.1.2.3", 80), "port"),
        (Address("10.1.2.3", 81), "narrow"),
        (Address("10.2.2.3", 81), "wide"),
        (Address("11.0.0.1", 81), "any"),
    ],
)
def test_port_beats_prefix_and_longer_prefixes_beat_shorter(destination: Address, name: str) -> None:
    chains = (
        chain("any"),
        chain("wide", prefix_ranges=(Cidr("10.0.0.0", 8),)),
        chain("narrow", prefix_ranges=(Cidr("10.1.0.0", 16),)),
        chain("port", destination_port=80),
    )
    assert chosen(chains, destination) == name


def test_there_is_no_way_back_from_a_more_specific_criterion() -> None:
    chains = (chain("any"), chain("port", destination_port=80, server_names=("a.example",)))
    assert chosen(chains, Address("10.0.0.1", 80)) is None
    assert chosen(chains, Address("10.0.0.1", 81)) == "any"


@pytest.mark.parametrize(
    ("server_name", "name"),
    [("a.b.example", "exact"), ("x.b.example", "long"), ("x.y.example", "short"), ("other", "none"), ("", "none")],
)
def test_server_names_from_exact_to_none(server_name: str, name: str) -> None:
    chains = (
        chain("none"),
        chain("short", server_names=("*.example",)),
        chain("long", server_names=("*.b.example",)),
        chain("exact", server_names=("a.b.example",)),
    )
    assert chosen(chains, Address("1.2.3.4", 443), Inspected("tls", server_name)) == name


def test_transport_then_application_protocol() -> None:
    chains = (
        chain("tls", transport_protocol="tls"),
        chain("http", application_protocols=("http/1.1", "h2c")),
        chain("rest"),
    )
    at = Address("1.2.3.4", 80)
    assert chosen(chains, at, Inspected("tls", protocols=("http/1.1",))) == "tls"
    assert chosen(chains, at, Inspected(protocols=("http/1.1",))) == "http"
    assert chosen(chains, at) == "rest"
    assert needs_inspection(chains) and not needs_inspection(chains[2:])


def test_the_default_chain_takes_what_no_chain_wants() -> None:
    table = ChainTable(Listener("l", chains=(chain("a", destination_port=1),), default_chain=chain("default")))
    found = table.choose(table.candidates(Address("1.1.1.1", 2)), NOTHING, SOURCE)
    assert found is not None and found.name == "default"


def test_source_prefix_decides_last() -> None:
    chains = (chain("any"), chain("mine", source_prefix_ranges=(Cidr("10.0.0.0", 24),), source_ports=(4711,)))
    assert chosen(chains, Address("1.1.1.1", 1)) == "mine"


def test_only_a_plain_tcp_chain_can_be_raced() -> None:
    table = ChainTable(Listener("l", chains=(chain("http", application_protocols=("http/1.1",)), chain("tcp"))))
    raced = table.opaque(table.candidates(Address("1.1.1.1", 1)), SOURCE)
    assert raced is not None and raced.name == "tcp"


def test_listeners_are_found_by_exact_address_then_by_family() -> None:
    listeners = [
        (Listener("exact", Address("10.0.0.1", 80)), "exact"),
        (Listener("v4", Address("0.0.0.0", 80)), "v4"),
        (Listener("v6", Address("::", 80)), "v6"),
        (Listener("only6", Address("::", 90)), "only6"),
    ]
    table = ListenerTable(listeners)
    assert table.find(Address("10.0.0.1", 80)) == "exact"
    assert table.find(Address("10.0.0.2", 80)) == "v4"
    assert table.find(Address("fd00::1", 80)) == "v6"
    assert table.find(Address("10.0.0.2", 90)) == "only6"
    assert table.find(Address("10.0.0.2", 91)) is None
