import pytest

from mesh.model.listener import Direction, ListenerFilter, TcpProxy
from mesh.model.route import WeightedCluster
from mesh.xds.kind import Kind
from tests.support.xds_json import TYPE, from_json, refused

TCP = {
    "name": "tcp",
    "typed_config": {
        "@type": TYPE + "extensions.filters.network.tcp_proxy.v3.TcpProxy",
        "stat_prefix": "s",
        "cluster": "c",
    },
}
LISTENER = {
    "name": "l",
    "address": {"socket_address": {"address": "0.0.0.0", "port_value": 15001}},
    "filter_chains": [{"filters": [TCP]}],
}


def inspector(name: str, **fields) -> dict:
    camel = "".join(part.title() for part in name.split("_"))
    return {"name": name, "typed_config": {"@type": f"{TYPE}extensions.filters.listener.{name}.v3.{camel}"}, **fields}


def ports(*numbers: int) -> dict:
    rules = [{"destination_port_range": {"start": number, "end": number + 1}} for number in numbers]
    return rules[0] if len(rules) == 1 else {"or_match": {"rules": rules}}


def decoded(**fields):
    return from_json(Kind.LISTENER, LISTENER | fields)


def test_envoys_defaults_are_envoys():
    listener = decoded()
    assert listener.chains[0].filter == TcpProxy("s", (WeightedCluster("c"),))
    assert (listener.bind_to_port, listener.filters_timeout_seconds) == (True, 15.0)
    assert not listener.continue_on_filters_timeout


def test_istios_virtual_outbound_is_understood():
    stats = {
        "name": "istio.stats",
        "typed_config": {
            "@type": "type.googleapis.com/udpa.type.v1.TypedStruct",
            "type_url": "type.googleapis.com/stats.PluginConfig",
        },
    }
    listener = decoded(
        traffic_direction="OUTBOUND",
        use_original_dst=True,
        max_connections_to_accept_per_socket_event=1,
        filter_chains=[{"name": "PassthroughFilterChain", "filters": [stats, TCP]}],
        listener_filters=[inspector("original_dst"), inspector("http_inspector", filter_disabled=ports(3306))],
    )
    assert (listener.direction, listener.use_original_dst) == (Direction.OUTBOUND, True)
    assert listener.filters == {ListenerFilter.ORIGINAL_DST, ListenerFilter.HTTP_INSPECTOR}
    assert listener.uninspected_ports == (3306,)


def test_only_ports_that_nobody_inspects_are_uninspected():
    filters = [
        inspector("tls_inspector", filter_disabled=ports(1, 2)),
        inspector("http_inspector", filter_disabled=ports(2, 3)),
    ]
    assert decoded(listener_filters=filters).uninspected_ports == (2,)


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"filter_chains": []}, "filter_chains"),
        ({"filter_chains": [{}]}, "filter_chains[0].filters"),
        ({"filter_chains": [{"filters": [TCP, TCP]}]}, "filter_chains[0].filters[1]"),
        (
            {
                "filter_chains": [
                    {"filters": [{"name": "x", "typed_config": {"@type": TYPE + "config.cluster.v3.Cluster"}}]}
                ]
            },
            "filter_chains[0].filters[0].typed_config",
        ),
        (
            {"filter_chains": [{"filters": [TCP], "filter_chain_match": {"source_type": "EXTERNAL"}}]},
            "filter_chains[0].filter_chain_match.source_type",
        ),
        (
            {"filter_chains": [{"filters": [TCP], "filter_chain_match": {"address_suffix": "x"}}]},
            "filter_chains[0].filter_chain_match.address_suffix",
        ),
        ({"transparent": True}, "transparent"),
        ({"udp_listener_config": {}}, "udp_listener_config"),
        ({"listener_filters": [inspector("original_src")]}, "listener_filters[0].typed_config"),
        (
            {"listener_filters": [inspector("http_inspector", filter_disabled={"not_match": {}})]},
            "listener_filters[0].filter_disabled.not_match",
        ),
        (
            {"address": {"socket_address": {"address": "::", "port_value": 1, "protocol": "UDP"}}},
            "address.socket_address.protocol",
        ),
    ],
)
def test_what_would_change_behaviour_is_refused(fields, field):
    assert refused(Kind.LISTENER, LISTENER | fields) == field
