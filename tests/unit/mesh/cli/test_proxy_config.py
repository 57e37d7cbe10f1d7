"""Rows of a config dump."""

from mesh.cli.proxy_config import clusters, endpoints, listeners, routes

TYPE = "type.googleapis.com/envoy.admin.v3."
HCM = {"@type": "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager", "rds": {"route_config_name": "9080"}}
TCP = {"@type": "type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy", "cluster": "PassthroughCluster"}


def test_a_cluster_of_istio_s_name_is_taken_apart():
    dump = {"configs": [{"@type": TYPE + "ClustersConfigDump", "dynamic_active_clusters": [{"cluster": {"name": "outbound|9080|v1|reviews.default.svc.cluster.local", "type": "EDS"}}, {"cluster": {"name": "PassthroughCluster", "type": "ORIGINAL_DST"}}]}]}
    assert [(row["service"], row["port"], row["subset"], row["direction"], row["type"]) for row in clusters(dump)] == [
        ("reviews.default.svc.cluster.local", "9080", "v1", "outbound", "EDS"),
        ("PassthroughCluster", "", "", "", "ORIGINAL_DST"),
    ]


def test_every_filter_chain_is_a_row():
    chain = {"filter_chain_match": {"transport_protocol": "raw_buffer", "application_protocols": ["h2c"], "destination_port": 80}, "filters": [{"typed_config": HCM}]}
    listener = {"name": "l", "address": {"socket_address": {"address": "0.0.0.0", "port_value": 80}}, "filter_chains": [chain], "default_filter_chain": {"filters": [{"typed_config": TCP}]}}
    dump = {"configs": [{"@type": TYPE + "ListenersConfigDump", "dynamic_listeners": [{"active_state": {"listener": listener}}]}]}
    assert [(row["port"], row["match"], row["destination"]) for row in listeners(dump)] == [(80, "raw_buffer h2c port 80", "routes 9080"), (80, "otherwise", "tcp PassthroughCluster")]


def test_weights_are_shown_as_shares():
    route = {"match": {"prefix": "/"}, "route": {"weighted_clusters": {"clusters": [{"name": "a", "weight": 1}, {"name": "b", "weight": 3}]}}}
    dump = {"configs": [{"@type": TYPE + "RoutesConfigDump", "dynamic_route_configs": [{"route_config": {"name": "r", "virtual_hosts": [{"name": "h", "domains": ["*"], "routes": [route]}]}}]}]}
    assert [row["target"] for row in routes(dump)] == ["a 25% b 75%"]


def test_an_endpoint_names_its_workload():
    endpoint = {"endpoint": {"address": {"socket_address": {"address": "198.18.0.2", "port_value": 9080}}}, "metadata": {"filter_metadata": {"istio": {"workload": "reviews-v1;default;reviews;v1;Kubernetes"}}}}
    dump = {"configs": [{"@type": TYPE + "EndpointsConfigDump", "dynamic_endpoint_configs": [{"endpoint_config": {"cluster_name": "c", "endpoints": [{"lb_endpoints": [endpoint]}]}}]}]}
    assert [(row["endpoint"], row["workload"], row["status"]) for row in endpoints(dump)] == [("198.18.0.2:9080", "default/reviews-v1", "HEALTHY")]
