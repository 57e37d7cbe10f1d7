import envoy.service.status.v3.csds_pb2 as csds_pb
import pytest

from mesh.xds.client_status import (
    client_config,
    read_query,
    response_as_dict,
    write_query,
    write_response,
)
from mesh.xds.encode import encode_resource
from mesh.xds.error import ProtocolError
from mesh.xds.kind import Kind
from mesh.xds.node import write_node
from mesh.xds.resource_status import ResourceStatus
from mesh.xds.subscription import Status
from tests.support.xds_wire import NODE, cluster

NODE_BODY = write_node(NODE).SerializeToString()
BODY = encode_resource(Kind.CLUSTER, "c", cluster("c")).body
LINE = ResourceStatus(Kind.CLUSTER, "c", "v2", Status.ERROR, 5.0, "is bad", "v2", 6.5, BODY)


def test_query_selects_by_id():
    query = read_query(write_query(["a"]))
    assert (query.selects("a"), query.selects("b"), query.with_bodies) == (True, False, False)
    assert read_query(write_query(with_bodies=True)).selects("anybody")


@pytest.mark.parametrize(("kind", "pattern"), [("prefix", "SIDE"), ("suffix", "CAR"), ("contains", "DEC")])
def test_patterns_may_ignore_case(kind, pattern):
    request = csds_pb.ClientStatusRequest()
    matcher = request.node_matchers.add().node_id
    setattr(matcher, kind, pattern)
    matcher.ignore_case = True
    query = read_query(request.SerializeToString())
    assert query.selects("sidecar")
    assert not query.selects("router")


def test_unsupported_matchers_are_refused():
    request = csds_pb.ClientStatusRequest()
    request.node_matchers.add().node_metadatas.add()
    with pytest.raises(ProtocolError, match="node_metadatas"):
        read_query(request.SerializeToString())
    with pytest.raises(ProtocolError, match="not a ClientStatusRequest"):
        read_query(b"\xff")


def test_answer_carries_version_status_and_error():
    answer = response_as_dict(write_response([client_config(NODE_BODY, [LINE], 1000.0)]))
    assert answer["config"][0]["node"]["id"] == NODE.id
    assert answer["config"][0]["genericXdsConfigs"] == [
        {
            "typeUrl": Kind.CLUSTER.value,
            "name": "c",
            "versionInfo": "v2",
            "lastUpdated": "1970-01-01T00:16:45Z",
            "configStatus": "ERROR",
            "clientStatus": "NACKED",
            "errorState": {
                "details": "is bad",
                "versionInfo": "v2",
                "lastUpdateAttempt": "1970-01-01T00:16:46.500Z",
            },
        }
    ]


def test_contents_come_when_asked_for():
    answer = response_as_dict(write_response([client_config(NODE_BODY, [LINE], 0.0, with_bodies=True)]))
    assert answer["config"][0]["genericXdsConfigs"][0]["xdsConfig"]["name"] == "c"
