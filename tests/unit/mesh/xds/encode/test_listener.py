from dataclasses import replace

import pytest

from mesh.model.addr import Address
from mesh.model.listener import ChainMatch, FilterChain, HttpManager, Listener, ListenerFilter, TcpProxy
from mesh.model.match import RouteMatch
from mesh.model.route import ForwardAction, HeaderMutation, Route, RouteConfig, VirtualHost, WeightedCluster
from tests.support.xds_json import to_json, unencodable

TCP = TcpProxy("s", (WeightedCluster("c"),))
LISTENER = Listener("l", Address("127.0.0.1", 80), (FilterChain(TCP),))
API = Listener("l", api=HttpManager("s", route_config_name="r"))


def proxying(*clusters: WeightedCluster) -> Listener:
    return replace(LISTENER, chains=(FilterChain(replace(TCP, clusters=clusters)),))


@pytest.mark.parametrize(
    ("value", "field"),
    [
        (replace(LISTENER, name=""), "name"),
        (replace(LISTENER, chains=()), "chains"),
        (replace(API, chains=LISTENER.chains), "api"),
        (replace(LISTENER, default_chain=FilterChain(TCP, ChainMatch(80))), "default_chain.match"),
        (replace(LISTENER, chains=(FilterChain(TCP, ChainMatch(0)),)), "chains[0].match.destination_port"),
        (replace(LISTENER, uninspected_ports=(80,)), "uninspected_ports"),
        (replace(LISTENER, filters_timeout_seconds=-1), "filters_timeout_seconds"),
        (replace(LISTENER, chains=(FilterChain(replace(TCP, stat_prefix="")),)), "chains[0].filter.stat_prefix"),
        (proxying(), "chains[0].filter.clusters"),
        (proxying(WeightedCluster("c", 0)), "chains[0].filter.clusters"),
        (proxying(WeightedCluster("c", 1, HeaderMutation(remove=("a",)))), "chains[0].filter.clusters[0]"),
    ],
)
def test_what_envoy_would_refuse_is_refused_first(value, field):
    assert unencodable(value) == field


def test_listener_filters_run_in_a_fixed_order():
    names = [
        entry["name"] for entry in to_json(replace(LISTENER, filters=frozenset(ListenerFilter)))["listener_filters"]
    ]
    assert [name.rpartition(".")[2] for name in names] == [
        "original_dst",
        "proxy_protocol",
        "tls_inspector",
        "http_inspector",
    ]


def test_ports_declared_opaque_are_not_inspected():
    filters = frozenset({ListenerFilter.HTTP_INSPECTOR})
    (one,) = to_json(replace(LISTENER, filters=filters, uninspected_ports=(3306,)))["listener_filters"]
    assert one["filter_disabled"] == {"destination_port_range": {"start": 3306, "end": 3307}}
    (two,) = to_json(replace(LISTENER, filters=filters, uninspected_ports=(1, 2)))["listener_filters"]
    assert len(two["filter_disabled"]["or_match"]["rules"]) == 2


def test_tcp_cluster_with_weight_zero_is_left_out():
    document = to_json(proxying(WeightedCluster("a", 5), WeightedCluster("b", 0)))
    proxy = document["filter_chains"][0]["filters"][0]["typed_config"]
    assert proxy["weighted_clusters"]["clusters"] == [{"name": "a", "weight": 5}]


def test_api_listener_has_no_address():
    assert set(to_json(API)) == {"name", "api_listener"}


def test_timeouts_inside_an_api_listener_are_said_to_grpc():
    routes = tuple(
        Route(RouteMatch(), ForwardAction((WeightedCluster("c"),), timeout_seconds=seconds)) for seconds in (1.5, 0.0)
    )
    config = RouteConfig("r", (VirtualHost("h", ("*",), routes),))
    document = to_json(Listener("l", api=HttpManager("s", route_config=config)))
    timed, endless = document["api_listener"]["api_listener"]["route_config"]["virtual_hosts"][0]["routes"]
    assert timed["route"]["max_stream_duration"] == {"max_stream_duration": "1.500s"}
    assert "max_stream_duration" not in endless["route"]


def test_listener_filters_may_wait_for_ever():
    assert to_json(LISTENER)["listener_filters_timeout"] == "0s"
