import json

from google.protobuf.json_format import ParseDict

from mesh.xds.dump import config_dump
from tests.support.xds_samples import KITCHEN_SINK


def sections(**options):
    dump = json.loads(json.dumps(config_dump(KITCHEN_SINK, **options)))
    return {section["@type"].rpartition(".")[2]: section for section in dump["configs"]}


def test_every_resource_is_there():
    parts = sections()
    clusters = parts["ClustersConfigDump"]["dynamic_active_clusters"]
    assert [entry["cluster"]["name"] for entry in clusters] == sorted(KITCHEN_SINK.clusters)
    listeners = parts["ListenersConfigDump"]["dynamic_listeners"]
    assert [entry["name"] for entry in listeners] == sorted(KITCHEN_SINK.listeners)
    routes = parts["RoutesConfigDump"]
    assert [entry["route_config"]["name"] for entry in routes["dynamic_route_configs"]] == ["9080"]
    assert {entry["route_config"]["name"] for entry in routes["static_route_configs"]} == {"inline"}
    endpoints = parts["EndpointsConfigDump"]["dynamic_endpoint_configs"]
    assert [entry["endpoint_config"]["cluster_name"] for entry in endpoints] == sorted(KITCHEN_SINK.endpoints)


def test_private_keys_are_redacted():
    secrets = sections()["SecretsConfigDump"]["dynamic_active_secrets"]
    keys = [entry["secret"]["tls_certificate"]["private_key"] for entry in secrets if entry["name"] == "cert"]
    assert keys == [{"inline_bytes": "W3JlZGFjdGVkXQ=="}]


def test_versions_of_the_control_plane_win():
    entries = sections(versions={"ring": "v7"})["ClustersConfigDump"]["dynamic_active_clusters"]
    assert {entry["version_info"] for entry in entries if entry["cluster"]["name"] == "ring"} == {"v7"}


def test_envoys_own_message_accepts_it():
    from envoy.admin.v3 import config_dump_pb2, config_dump_shared_pb2  # noqa: F401

    ParseDict(config_dump(KITCHEN_SINK), config_dump_pb2.ConfigDump())
