from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from mesh.sandbox.apiserver.connect import _container, _proxy_name
from mesh.sandbox.apiserver.status import ApiError
from tests.support.apiserver_local import local

PODS = "/api/v1/namespaces/default/pods"


def pod(*names: str, **meta: Any) -> dict[str, Any]:
    return {"metadata": {"name": "p", **meta}, "spec": {"containers": [{"name": n} for n in names], "initContainers": [{"name": "init"}]}}


def test_container_choice() -> None:
    assert _container(pod("a"), "") == "a" and _container(pod("a", "b"), "b") == "b" and _container(pod("a"), "init") == "init"
    assert _container(pod("a", "b", annotations={"kubectl.kubernetes.io/default-container": "b"}), "") == "b"
    for made, asked, text in ((pod("a", "b"), "", r"choose one of: \[a b\]"), (pod("a"), "c", "container c is not valid for pod p")):
        with pytest.raises(ApiError, match=text):
            _container(made, asked)


def test_proxy_names() -> None:
    assert [_proxy_name(n) for n in ("p", "p:80", "http:p:80", ":p:http")] == [("http", "p", ""), ("http", "p", "80"), ("http", "p", "80"), ("http", "p", "http")]
    with pytest.raises(ApiError):
        _proxy_name("ftp:p:80")


async def test_refusals_before_anything_is_dialled(tmp_path: Path) -> None:
    async with local(tmp_path) as api:
        await api.create(PODS, "p", spec={"containers": [{"name": "a", "image": "i:1"}], "nodeName": "n1"})
        cases = [
            ("GET", f"{PODS}/none/log", {}, 404), ("POST", f"{PODS}/p/exec", {}, 400), ("POST", f"{PODS}/p/exec", {"command": "ls"}, 400), ("POST", f"{PODS}/p/portforward", {}, 404),
            ("GET", f"{PODS}/p/proxy/", {}, 503), ("GET", "/api/v1/namespaces/default/services/none/proxy/", {}, 404), ("GET", "/api/v1/nodes/none/proxy/", {}, 404), ("GET", f"{PODS}/p/log", {}, 404),
        ]  # fmt: skip
        found = [(await api.call(method, path, **query))[0] for method, path, query, _ in cases]
        # Without an upgrade header exec and port-forward fail on the missing node first.
        assert found == [404, 400, 404, 404, 503, 404, 404, 404]


async def test_https_proxy_is_not_pretended(tmp_path: Path) -> None:
    async with local(tmp_path) as api:
        made = await api.create(PODS, "p", spec={"containers": [{"name": "a", "image": "i:1"}]})
        await api.call("PUT", f"{PODS}/p/status", {**made, "status": {"podIP": "127.0.0.1"}})
        assert (await api.call("GET", f"{PODS}/https:p:443/proxy/"))[0] == 501
