import envoy.service.discovery.v3.discovery_pb2 as discovery_pb

from mesh.xds.kind import Kind, Variant
from mesh.xds.resource import Resource
from mesh.xds.response import delta_response, nothing_response, sotw_response, split

A, B = (Resource(Kind.CLUSTER, name, f"v{name}", b"x" * 10) for name in "ab")


def test_delta_carries_versions_and_removals():
    response = delta_response(Kind.CLUSTER, {"a": A, "gone": None}, "n", "all")
    message = discovery_pb.DeltaDiscoveryResponse.FromString(response.body)
    assert [(item.name, item.version, item.resource.value) for item in message.resources] == [("a", "va", A.body)]
    assert (list(message.removed_resources), message.nonce, message.system_version_info) == (["gone"], "n", "all")
    assert (response.resources, response.removed) == (1, 1)


def test_sotw_leaves_out_what_is_gone():
    message = discovery_pb.DiscoveryResponse.FromString(sotw_response(Kind.CLUSTER, {"a": A, "b": None}, "n").body)
    assert [packed.value for packed in message.resources] == [A.body]
    assert message.version_info


def test_nothing_names_what_was_asked_for():
    response = nothing_response(Variant.DELTA, "type/x", "n", ["a"])
    assert list(discovery_pb.DeltaDiscoveryResponse.FromString(response.body).removed_resources) == ["a"]
    assert response.kind is None


def test_split_is_empty_once():
    assert list(split({}, ())) == [{}]


def test_split_sends_suspects_one_by_one_and_the_rest_together():
    parts = list(split({"a": A, "b": B, "c": None}, {"a"}))
    assert parts == [{"a": A}, {"b": B, "c": None}]


def test_split_of_suspects_only_has_no_empty_part():
    assert list(split({"a": A}, {"a", "elsewhere"})) == [{"a": A}]
