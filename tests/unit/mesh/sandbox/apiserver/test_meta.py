from __future__ import annotations

import json
from pathlib import Path

import pytest

from mesh.sandbox.apiserver.http import Response
from tests.support.apiserver_local import local

AGGREGATED = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,application/json;g=apidiscovery.k8s.io;v=v2beta1;as=APIGroupDiscoveryList,application/json"


@pytest.mark.parametrize(
    ("path", "kind"),
    [("/api", "APIVersions"), ("/api/v1", "APIResourceList"), ("/apis", "APIGroupList"), ("/apis/apps", "APIGroup"), ("/apis/apps/v1", "APIResourceList")],
)
async def test_legacy_discovery(tmp_path: Path, path: str, kind: str) -> None:
    async with local(tmp_path) as api:
        assert (await api.call("GET", path))[1]["kind"] == kind


async def test_aggregated_discovery_is_negotiated(tmp_path: Path) -> None:
    async with local(tmp_path) as api:
        reply = await api.reply("GET", "/apis", accept=AGGREGATED)
        assert isinstance(reply, Response) and reply.content_type == "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"
        assert json.loads(reply.body)["kind"] == "APIGroupDiscoveryList"


async def test_health_version_metrics_and_paths(tmp_path: Path) -> None:
    async with local(tmp_path) as api:
        for path in ("/healthz", "/livez/ping", "/readyz"):
            assert await api.call("GET", path) == (200, "ok")
        _, version = await api.call("GET", "/version")
        assert (version["major"], version["minor"]) == ("1", "32") and version["platform"].startswith("linux/")
        _, text = await api.call("GET", "/metrics")
        assert "process_resident_memory_bytes" in text and "triomesh_apiserver_revision" in text
        assert "/apis/apps/v1" in (await api.call("GET", "/"))[1]["paths"]
        for path in ("/api/v2", "/apis/none", "/apis/apps/v2", "/x"):
            assert (await api.call("GET", path))[0] == 404
        assert (await api.call("GET", "/openid/v1/jwks"))[1]["keys"][0]["alg"] == "ES256"
