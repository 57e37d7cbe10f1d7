from __future__ import annotations

import pytest

from mesh.sandbox.apiserver.paths import Target, parse, verb
from mesh.sandbox.apiserver.status import ApiError


@pytest.mark.parametrize(
    ("path", "target"),
    [
        ("/api/v1/pods", Target("", "v1", "pods")),
        ("/api/v1/namespaces", Target("", "v1", "namespaces")),
        ("/api/v1/namespaces/a", Target("", "v1", "namespaces", "", "a")),
        ("/api/v1/namespaces/a/finalize", Target("", "v1", "namespaces", "", "a", "finalize")),
        ("/api/v1/namespaces/a/pods", Target("", "v1", "pods", "a")),
        ("/api/v1/namespaces/a/pods/p/log", Target("", "v1", "pods", "a", "p", "log")),
        ("/apis/apps/v1/namespaces/a/deployments/d/scale", Target("apps", "v1", "deployments", "a", "d", "scale")),
        ("/apis/apps/v1/deployments", Target("apps", "v1", "deployments")),
        ("/api/v1/namespaces/a/pods/p:80/proxy/x/y/", Target("", "v1", "pods", "a", "p:80", "proxy", "x/y/")),
        ("/api/v1/namespaces/a/services/s/proxy", Target("", "v1", "services", "a", "s", "proxy")),
        ("/api", None), ("/api/v1", None), ("/apis/apps/v1", None), ("/healthz", None), ("/", None),
    ],
)  # fmt: skip
def test_parse(path: str, target: Target | None) -> None:
    assert parse(path) == target


def test_too_deep_and_old_style_paths_are_refused() -> None:
    for path, code in (("/api/v1/namespaces/a/pods/p/log/x", 404), ("/api/v1/watch/pods", 400)):
        with pytest.raises(ApiError) as refused:
            parse(path)
        assert refused.value.code == code


def test_verbs() -> None:
    many, one = Target("", "v1", "pods", "a"), Target("", "v1", "pods", "a", "p")
    assert [verb(m, many, False) for m in ("GET", "POST", "DELETE")] == ["list", "create", "deletecollection"]
    assert [verb(m, one, False) for m in ("GET", "PUT", "PATCH", "DELETE", "POST")] == ["get", "update", "patch", "delete", "create"]
    assert verb("GET", many, True) == "watch"
    with pytest.raises(ApiError):
        verb("TRACE", one, False)
