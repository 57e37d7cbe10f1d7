from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.support.apiserver_local import local


async def test_string_data_becomes_data(tmp_path: Path) -> None:
    async with local(tmp_path) as api:
        made = await api.create("/api/v1/namespaces/default/secrets", "s", stringData={"a": "b"}, data={"c": "ZA=="})
        assert made["data"] == {"a": "Yg==", "c": "ZA=="} and "stringData" not in made


async def test_causes_of_metadata_schema_and_kind_come_together(tmp_path: Path) -> None:
    async with local(tmp_path) as api:
        body: dict[str, Any] = {"metadata": {"name": "-"}, "spec": {"selector": {"matchLabels": {"a": "b"}}, "template": {"spec": {"containers": [{"name": "a", "image": "i", "env": [{}]}]}}}}
        code, said = await api.call("POST", "/apis/apps/v1/namespaces/default/deployments", body)
        assert code == 422
        assert [c["field"] for c in said["details"]["causes"]] == ["metadata.name", "spec.template.spec.containers[0].env[0].name"]


async def test_namespace_must_exist_and_live(tmp_path: Path) -> None:
    async with local(tmp_path) as api:
        code, said = await api.call("POST", "/api/v1/namespaces/none/configmaps", {"metadata": {"name": "a"}})
        assert (code, said["details"]) == (404, {"name": "none", "kind": "namespaces"})
        await api.create("/api/v1/namespaces", "ending")
        await api.call("DELETE", "/api/v1/namespaces/ending")
        assert (await api.call("POST", "/api/v1/namespaces/ending/configmaps", {"metadata": {"name": "a"}}))[0] == 403


async def test_service_keeps_its_address_on_update(tmp_path: Path) -> None:
    async with local(tmp_path) as api:
        path = "/api/v1/namespaces/default/services"
        made = await api.create(path, "s", spec={"ports": [{"port": 80}]})
        _, after = await api.call("PUT", f"{path}/s", {"metadata": {"name": "s"}, "spec": {"ports": [{"port": 81}]}})
        assert after["spec"]["clusterIP"] == made["spec"]["clusterIP"]
        _, external = await api.call("PUT", f"{path}/s", {"metadata": {"name": "s"}, "spec": {"type": "ExternalName", "externalName": "a.b"}})
        assert "clusterIP" not in external["spec"]
