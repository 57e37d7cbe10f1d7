from __future__ import annotations

from pathlib import Path

import pytest

from mesh.sandbox.apiserver import reads
from mesh.sandbox.apiserver.http import Request, Response
from tests.support.apiserver_local import ADMIN, local


@pytest.mark.parametrize(
    ("method", "path", "code"),
    [
        ("GET", "/api/v1/nothings", 404), ("GET", "/apis/none/v1/pods", 404), ("GET", "/api/v1/pods/p", 404), ("POST", "/api/v1/pods", 400), ("GET", "/api/v1/namespaces/default/nodes", 404),
        ("DELETE", "/api/v1/namespaces", 405), ("GET", "/apis/authentication.k8s.io/v1/tokenreviews", 405), ("TRACE", "/api/v1/pods", 405), ("POST", "/version", 405), ("GET", "/nowhere", 404),
        ("POST", "/api/v1/namespaces/default/pods/p/log", 405),
    ],
)  # fmt: skip
async def test_wrong_doors(tmp_path: Path, method: str, path: str, code: int) -> None:
    async with local(tmp_path) as api:
        status, said = await api.call(method, path)
        assert (status, said["kind"], said["code"]) == (code, "Status", code)


async def test_unexpected_failure_is_a_status_and_a_log_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("boom")

    async with local(tmp_path) as api:
        monkeypatch.setattr(reads, "list_or_watch", broken)
        code, said = await api.call("GET", "/api/v1/pods")
        assert (code, said["reason"]) == (500, "InternalError") and "boom" not in said["message"]
    assert "boom" in caplog.text


async def test_requests_are_counted(tmp_path: Path) -> None:
    async with local(tmp_path) as api:
        await api.call("GET", "/api/v1/namespaces/default/pods/none")
        assert 'apiserver_request_total{verb="get",resource="pods",subresource="",code="404"} 1' in api.metrics.text({})


async def test_impersonation_is_a_permission(tmp_path: Path) -> None:
    async with local(tmp_path) as api:
        _, made = await api.call("POST", "/api/v1/namespaces/default/serviceaccounts/default/token", {})

        async def whoami(certificate: object, **headers: str) -> Response:
            given = {"content-type": "application/json", **{k.replace("_", "-"): v for k, v in headers.items()}}
            raw = [(k.encode(), v.encode()) for k, v in given.items()]
            path = "/apis/authentication.k8s.io/v1/selfsubjectreviews"
            reply = await api.server.respond(Request("POST", path, path, {}, given, raw, b"{}", certificate))  # type: ignore[arg-type]
            assert isinstance(reply, Response)
            return reply

        assert b'"system:serviceaccounts:ns"' in (await whoami(ADMIN, impersonate_user="system:serviceaccount:ns:sa")).body
        assert (await whoami(ADMIN, impersonate_group="g")).status == 400
        refused = await whoami(None, impersonate_user="root", authorization=f"Bearer {made['status']['token']}")
        assert refused.status == 403 and b'cannot impersonate resource \\"users\\"' in refused.body


async def test_warnings_are_safe_headers(tmp_path: Path) -> None:
    async with local(tmp_path) as api:
        found = await api.warnings("POST", "/api/v1/namespaces/default/configmaps", {"metadata": {"name": "a"}, 'b"\r\nX: y': 1})
        assert found == ['299 - "unknown field \\"b\\"  X: y\\""']
