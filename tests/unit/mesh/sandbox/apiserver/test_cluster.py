from __future__ import annotations

import pytest

from mesh.sandbox.apiserver.authn import ANONYMOUS
from mesh.sandbox.apiserver.cluster import Call
from mesh.sandbox.apiserver.http import Request
from mesh.sandbox.apiserver.kinds import builtin
from mesh.sandbox.apiserver.paths import Target
from mesh.sandbox.apiserver.status import ApiError
from mesh.sandbox.apiserver.storage import Key

PODS = next(r for r in builtin() if r.key == "pods")


def call(query: dict[str, list[str]] | None = None, **headers: str) -> Call:
    return Call(Request("GET", "/", "/", query or {}, headers, [], b""), ANONYMOUS, Target("", "v1", "pods", "ns", "p"), "get", PODS)


def test_key_and_error() -> None:
    assert call().key == Key("pods", "ns", "p") and call().not_found().message == 'pods "p" not found'


def test_manager_is_the_parameter_or_the_user_agent() -> None:
    assert call(**{"user-agent": "kubectl/v1 (x)"}).manager == "kubectl" and call({"fieldManager": ["ci"]}).manager == "ci" and call().manager == "unknown"
    for bad in ("x" * 129, "a\nb"):
        with pytest.raises(ApiError):
            call({"fieldManager": [bad]}).manager  # noqa: B018


def test_dry_run() -> None:
    assert call({"dryRun": ["All"]}).dry_run and not call().dry_run
    with pytest.raises(ApiError):
        call({"dryRun": ["Some"]}).dry_run  # noqa: B018
