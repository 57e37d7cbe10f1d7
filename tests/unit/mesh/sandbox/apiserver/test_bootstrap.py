from __future__ import annotations

from pathlib import Path

from mesh.sandbox.apiserver.bootstrap import NAMESPACES, fill
from mesh.sandbox.apiserver.kubeconfig import Address, Addresses
from tests.support.apiserver_local import local

SLICE = "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices/kubernetes"


async def test_new_cluster_has_namespaces_roles_and_its_own_service(tmp_path: Path) -> None:
    async with local(tmp_path) as api:
        _, found = await api.call("GET", "/api/v1/namespaces")
        assert sorted(i["metadata"]["name"] for i in found["items"]) == sorted(NAMESPACES)
        assert all(i["status"]["phase"] == "Active" for i in found["items"])
        _, service = await api.call("GET", "/api/v1/namespaces/default/services/kubernetes")
        assert (service["spec"]["clusterIP"], service["spec"]["ports"][0]["targetPort"]) == ("198.19.0.1", 6443)


async def test_filling_again_changes_only_what_moved(tmp_path: Path) -> None:
    async with local(tmp_path) as api:
        before = api.cluster.store.revision
        here = Address("127.0.0.1", 6443)
        await fill(api.cluster, Addresses(here, here))
        assert api.cluster.store.revision == before
        _, old = await api.call("GET", SLICE)
        await fill(api.cluster, Addresses(here, Address("198.18.0.1", 7000)))
        _, new = await api.call("GET", SLICE)
        assert (new["endpoints"][0]["addresses"], new["ports"][0]["port"], new["metadata"]["uid"]) == (["198.18.0.1"], 7000, old["metadata"]["uid"])
        assert api.cluster.store.revision == before + 3
