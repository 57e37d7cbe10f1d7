"""What meshctl installs into a sandbox; the sandbox itself is tested in tests/e2e."""

from mesh.cli.sandbox import COLLECTOR, COLLECTOR_OTLP, manifests


def by_key(items):
    return {(item["kind"], item["metadata"]["name"]): item for item in items}


def test_every_placeholder_is_filled_in():
    assert "${" not in repr(manifests())


def test_the_sandbox_s_own_configuration_replaces_the_general_one():
    found = by_key(manifests())
    assert len(found) == len(manifests())
    assert COLLECTOR_OTLP in found["ConfigMap", "triomesh"]["data"]["mesh"]


def test_otlp_is_passed_to_the_collector():
    (container,) = by_key(manifests("collector.example:4317"))["Deployment", COLLECTOR]["spec"]["template"]["spec"]["containers"]
    assert container["args"] == ["--otlp", "collector.example:4317"]
