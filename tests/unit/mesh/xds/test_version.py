from mesh.xds.kind import Kind
from mesh.xds.resource import Resource
from mesh.xds.version import version_of, version_of_set


def resources(*pairs):
    return [Resource(Kind.CLUSTER, name, version, b"") for name, version in pairs]


def test_version_follows_content():
    assert version_of(b"a") == version_of(b"a")
    assert version_of(b"a") != version_of(b"b")


def test_set_version_ignores_order_but_not_names():
    assert version_of_set(resources(("a", "1"), ("b", "2"))) == version_of_set(resources(("b", "2"), ("a", "1")))
    assert version_of_set(resources(("a", "1"), ("b", "2"))) != version_of_set(resources(("a", "2"), ("b", "1")))


def test_names_and_versions_cannot_run_into_each_other():
    assert version_of_set({"ab": "c"}) != version_of_set({"a": "bc"})


def test_mapping_and_resources_agree():
    assert version_of_set({"a": "1"}) == version_of_set(resources(("a", "1")))
