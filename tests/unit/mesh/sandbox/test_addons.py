"""kube-dns."""

from mesh.sandbox.addons import dns_objects


def test_dns_is_a_service_with_the_node_behind_it() -> None:
    service, endpoints = (body for _, body in dns_objects())
    assert service["spec"]["clusterIP"] == "198.19.0.10" and endpoints["endpoints"][0]["addresses"] == ["198.18.0.1"]
    assert endpoints["metadata"]["labels"]["kubernetes.io/service-name"] == service["metadata"]["name"]
