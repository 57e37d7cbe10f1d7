import json

import pytest

from mesh.model.addr import Address
from mesh.model.cluster import Discovery
from mesh.model.listener import TcpProxy
from mesh.xds.bootstrap import load_bootstrap
from mesh.xds.error import DecodeError

PASSTHROUGH = """
admin: {address: {socket_address: {address: 127.0.0.1, port_value: 15000}}}
static_resources:
  listeners:
  - address: {socket_address: {address: 127.0.0.1, port_value: 8080}}
    filter_chains:
    - filters:
      - name: envoy.filters.network.tcp_proxy
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy
          stat_prefix: tcp
          cluster: backend
  clusters:
  - name: backend
    type: STATIC
    load_assignment:
      cluster_name: backend
      endpoints:
      - lb_endpoints:
        - endpoint: {address: {socket_address: {address: 127.0.0.1, port_value: 9080}}}
"""


def test_static_resources_become_a_snapshot():
    snapshot = load_bootstrap(PASSTHROUGH)
    assert snapshot.clusters["backend"].discovery is Discovery.STATIC
    (listener,) = snapshot.listeners.values()
    assert (listener.name, listener.address) == ("listener_0", Address("127.0.0.1", 8080))
    assert isinstance(listener.chains[0].filter, TcpProxy)


def error(text: str) -> tuple[str, str]:
    with pytest.raises(DecodeError) as caught:
        load_bootstrap(text)
    return caught.value.resource, caught.value.field


@pytest.mark.parametrize(
    ("text", "where"),
    [
        ("{", ("bootstrap", "")),
        ("[]", ("bootstrap", "")),
        ("{}", ("bootstrap", "static_resources")),
        ("{static_resources: {}, dynamic_resources: {}}", ("bootstrap", "dynamic_resources")),
        ("{static_resources: {endpoints: []}}", ("bootstrap", "static_resources.endpoints")),
        ("{static_resources: {clusters: {}}}", ("bootstrap", "static_resources.clusters")),
        ("{static_resources: {clusters: [7]}}", ("bootstrap", "static_resources.clusters[0]")),
        ("{static_resources: {clusters: [{name: c, typo: 1}]}}", ("c", "static_resources.clusters[0]")),
        ("{static_resources: {clusters: [{name: c, health_checks: [{}]}]}}", ("c", "health_checks")),
    ],
)
def test_what_is_wrong_is_named(text, where):
    assert error(text) == where


def test_nothing_can_be_asked_of_a_control_plane():
    eds = {"name": "c", "type": "EDS", "eds_cluster_config": {"eds_config": {"ads": {}}}}
    assert error(json.dumps({"static_resources": {"clusters": [eds]}})) == ("c", "")
