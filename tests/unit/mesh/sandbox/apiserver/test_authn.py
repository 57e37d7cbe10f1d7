from __future__ import annotations

import base64
from pathlib import Path

import pytest

from mesh.sandbox.apiserver.authn import ANONYMOUS, PROTOCOL_TOKEN, bearer_token, certificate_user
from mesh.sandbox.apiserver.http import Request
from mesh.sandbox.apiserver.status import ApiError
from tests.support.apiserver_local import ADMIN, local


def request(headers: dict[str, str] | None = None, certificate: object = None) -> Request:
    return Request("GET", "/", "/", {}, headers or {}, [], b"", certificate)  # type: ignore[arg-type]


def test_certificate_names_user_and_groups() -> None:
    user = certificate_user(ADMIN)
    assert (user.name, user.groups) == ("kubernetes-admin", ("system:masters", "system:authenticated"))


def test_tokens_come_in_a_header_or_a_subprotocol() -> None:
    assert bearer_token(request({"authorization": "Bearer abc"})) == "abc" and bearer_token(request({"authorization": "Basic abc"})) is None
    encoded = base64.urlsafe_b64encode(b"abcd").rstrip(b"=").decode()
    assert bearer_token(request({"sec-websocket-protocol": f"v4.channel.k8s.io, {PROTOCOL_TOKEN}{encoded}"})) == "abcd"
    with pytest.raises(ApiError):
        bearer_token(request({"sec-websocket-protocol": f"{PROTOCOL_TOKEN}***"}))


async def test_who_is_who(tmp_path: Path) -> None:
    async with local(tmp_path) as api:
        authenticator, now = api.cluster.authenticator, int(api.now.timestamp())
        assert authenticator.authenticate(request(), now) is ANONYMOUS
        _, made = await api.call("POST", "/api/v1/namespaces/default/serviceaccounts/default/token", {})
        headers = {"authorization": f"Bearer {made['status']['token']}"}
        user = authenticator.authenticate(request(headers), now)
        assert user.groups == ("system:serviceaccounts", "system:serviceaccounts:default", "system:authenticated")
        await api.call("DELETE", "/api/v1/namespaces/default/serviceaccounts/default")
        with pytest.raises(ApiError) as refused:
            authenticator.authenticate(request(headers), now)
        assert refused.value.code == 401
