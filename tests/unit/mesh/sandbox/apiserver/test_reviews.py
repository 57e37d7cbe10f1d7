from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.support.apiserver_local import local

AUTHZ, AUTHN = "/apis/authorization.k8s.io/v1", "/apis/authentication.k8s.io/v1"
PODS: dict[str, Any] = {"verb": "list", "resource": "pods", "namespace": "default"}


async def test_access_reviews(tmp_path: Path) -> None:
    async with local(tmp_path) as api:
        _, mine = await api.call("POST", f"{AUTHZ}/selfsubjectaccessreviews", {"spec": {"resourceAttributes": PODS}})
        assert mine["status"] == {"allowed": True}
        _, other = await api.call("POST", f"{AUTHZ}/subjectaccessreviews", {"spec": {"user": "jane", "resourceAttributes": PODS}})
        assert other["status"] == {"allowed": False}
        _, path = await api.call("POST", f"{AUTHZ}/subjectaccessreviews", {"spec": {"user": "jane", "groups": ["system:authenticated"], "nonResourceAttributes": {"verb": "get", "path": "/version"}}})
        assert path["status"]["allowed"] is True
        _, here = await api.call("POST", f"{AUTHZ}/namespaces/default/localsubjectaccessreviews", {"spec": {"user": "jane", "resourceAttributes": PODS}})
        assert here["status"]["allowed"] is False


@pytest.mark.parametrize("spec", [{}, {"resourceAttributes": PODS}, {"user": "u"}, {"user": "u", "resourceAttributes": PODS, "nonResourceAttributes": {}}])
async def test_incomplete_questions(tmp_path: Path, spec: dict[str, Any]) -> None:
    async with local(tmp_path) as api:
        assert (await api.call("POST", f"{AUTHZ}/subjectaccessreviews", {"spec": spec}))[0] == 422


async def test_rules_review(tmp_path: Path) -> None:
    async with local(tmp_path) as api:
        _, found = await api.call("POST", f"{AUTHZ}/selfsubjectrulesreviews", {"spec": {"namespace": "default"}})
        assert {"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"]} in found["status"]["resourceRules"] and found["status"]["incomplete"] is False


async def test_identity(tmp_path: Path) -> None:
    async with local(tmp_path) as api:
        _, who = await api.call("POST", f"{AUTHN}/selfsubjectreviews", {})
        assert who["status"]["userInfo"] == {"username": "kubernetes-admin", "groups": ["system:masters", "system:authenticated"]}
        _, bad = await api.call("POST", f"{AUTHN}/tokenreviews", {"spec": {"token": "x"}})
        assert bad["status"] == {"user": {}, "error": "invalid bearer token"}
