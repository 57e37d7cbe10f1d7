"""Bookinfo's files, translated: compare with the text files beside this one.

`TRIOMESH_GOLDEN=update pytest tests/golden/translate` rewrites them; read the diff before you commit it.
"""

from __future__ import annotations

import os
import pathlib

import pytest

from tests.support.world import INGRESS_GATEWAY, Cluster, bookinfo
from tests.support.world_text import text

HERE = pathlib.Path(__file__).parent
BASE = ("platform/kube/bookinfo.yaml", "networking/destination-rule-all.yaml")
CASES = {
    "plain": ("platform/kube/bookinfo.yaml",),
    "reviews-90-10": (*BASE, "networking/virtual-service-reviews-90-10.yaml"),
    "ratings-test-delay": (*BASE, "networking/virtual-service-ratings-test-delay.yaml"),
    "reviews-jason": (*BASE, "networking/virtual-service-reviews-jason-v2-v3.yaml"),
    "details-fault": (*BASE, "networking/fault-injection-details-v1.yaml"),
    "egress": (*BASE, "networking/egress-rule-google-apis.yaml"),
    "databases": (*BASE, "platform/kube/bookinfo-db.yaml", "platform/kube/bookinfo-mysql.yaml"),
    "gateway-api": (*BASE, "platform/kube/bookinfo-versions.yaml", "gateway-api/route-all-v1.yaml"),
}
GATEWAYS = {
    "gateway-istio": ("networking/bookinfo-gateway.yaml", "networking/certmanager-gateway.yaml"),
    "gateway-gateway-api": ("gateway-api/bookinfo-gateway.yaml",),
}


IDENTITIES = {
    "mesh-tls-permissive": ("networking/destination-rule-all.yaml",),
    "mesh-tls-istio-mutual": ("networking/destination-rule-all-mtls.yaml",),
}


def check(name: str, found: str) -> None:
    path = HERE / f"{name}.txt"
    if os.environ.get("TRIOMESH_GOLDEN") == "update":
        path.write_text(found)
    assert found == path.read_text()


@pytest.mark.parametrize("name", CASES)
def test_sidecar(name: str) -> None:
    cluster = Cluster()
    cluster.apply(bookinfo(*CASES[name]))
    check(name, text(cluster.sidecar("productpage", app="productpage", version="v1")))


@pytest.mark.parametrize("name", IDENTITIES)
def test_sidecar_with_an_identity(name: str) -> None:
    cluster = Cluster(has_identities=True)
    cluster.apply(bookinfo("platform/kube/bookinfo.yaml", "platform/kube/bookinfo-db.yaml", *IDENTITIES[name]))
    check(name, text(cluster.sidecar("reviews", app="reviews", version="v1")))


@pytest.mark.parametrize("name", GATEWAYS)
def test_gateway(name: str) -> None:
    cluster = Cluster()
    cluster.apply(INGRESS_GATEWAY)
    cluster.apply(bookinfo("platform/kube/bookinfo.yaml", *GATEWAYS[name]))
    check(name, text(cluster.gateway()))
