from mesh.xds.kind import Kind
from mesh.xds.resource import EMPTY_BUNDLE, Bundle, Resource


def test_bundle_without_a_type_has_none_of_it():
    assert EMPTY_BUNDLE.of(Kind.SECRET) == {}


def test_body_stays_out_of_logs():
    assert "secret" not in repr(Resource(Kind.SECRET, "s", "v", b"secret"))


def test_bundle_finds_by_type():
    resource = Resource(Kind.CLUSTER, "c", "v", b"")
    assert Bundle({Kind.CLUSTER: {"c": resource}}).of(Kind.CLUSTER) == {"c": resource}
