"""The table of kinds."""

from __future__ import annotations

from mesh.control.kube import kinds


def test_paths_of_collections_objects_and_subresources() -> None:
    assert kinds.SERVICE.path("v1") == "/api/v1/services"
    assert kinds.NODE.path("v1", "ignored", "n") == "/api/v1/nodes/n"
    assert (
        kinds.VIRTUAL_SERVICE.path("v1", "default", "reviews", "status")
        == "/apis/networking.istio.io/v1/namespaces/default/virtualservices/reviews/status"
    )


def test_two_kinds_called_gateway_are_told_apart() -> None:
    assert kinds.kind_of({"apiVersion": "networking.istio.io/v1beta1", "kind": "Gateway"}) is kinds.ISTIO_GATEWAY
    assert kinds.kind_of({"apiVersion": "gateway.networking.k8s.io/v1", "kind": "Gateway"}) is kinds.GATEWAY
    assert kinds.kind_of({"apiVersion": "apps/v1", "kind": "Deployment"}) is None


def test_only_crds_may_be_absent() -> None:
    assert all("." in kind.group for kind in kinds.KINDS if kind.is_optional)
    assert not any(kind.is_optional for kind in kinds.KINDS if kind.group in ("", "discovery.k8s.io"))
