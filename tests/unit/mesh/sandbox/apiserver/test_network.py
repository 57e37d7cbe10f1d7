from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from mesh.sandbox.apiserver.network import Address
from mesh.sandbox.apiserver.status import ApiError
from tests.support.apiserver_local import local


async def test_kubelet_address_is_the_nodes_own_word(tmp_path: Path) -> None:
    async with local(tmp_path) as api:
        network = api.cluster.network
        await api.create("/api/v1/nodes", "ready", status={"addresses": [{"type": "Hostname", "address": "x"}, {"type": "InternalIP", "address": "198.18.0.1"}], "daemonEndpoints": {"kubeletEndpoint": {"Port": 10250}}})
        await api.create("/api/v1/nodes", "new")
        assert network.kubelet("ready") == Address("198.18.0.1", 10250)
        for name, code in (("new", 503), ("none", 404)):
            with pytest.raises(ApiError) as refused:
                network.kubelet(name)
            assert refused.value.code == code


async def test_service_is_reached_at_its_ready_endpoints(tmp_path: Path) -> None:
    async with local(tmp_path) as api:
        network = api.cluster.network
        await api.create("/api/v1/namespaces/default/services", "s", spec={"ports": [{"name": "http", "port": 80}, {"name": "admin", "port": 81}]})
        await api.create("/api/v1/namespaces/default/services", "e", spec={"type": "ExternalName", "externalName": "example.com"})

        async def piece(name: str, address: str, ready: bool, **more: Any) -> None:
            await api.create("/apis/discovery.k8s.io/v1/namespaces/default/endpointslices", name, metadata={"labels": {"kubernetes.io/service-name": "s"}}, addressType="IPv4",
                             endpoints=[{"addresses": [address], "conditions": {"ready": ready}}], ports=[{"name": "http", "port": 8080}], **more)  # fmt: skip

        await piece("s-1", "198.18.0.5", True)
        await piece("s-2", "198.18.0.6", False)
        assert {network.service("default", "s", port) for port in (80, "http", "80") for _ in range(5)} == {Address("198.18.0.5", 8080)}
        assert network.service("default", "e", 443) == Address("example.com", 443)
        for name, port, code in (("s", 81, 503), ("s", 99, 503), ("none", 80, 404)):
            with pytest.raises(ApiError) as refused:
                network.service("default", name, port)
            assert refused.value.code == code


async def test_pod_without_address(tmp_path: Path) -> None:
    async with local(tmp_path) as api:
        assert api.cluster.network.pod({"status": {"podIP": "1.2.3.4"}}) == "1.2.3.4"
        with pytest.raises(ApiError):
            api.cluster.network.pod({"metadata": {"name": "p"}})
