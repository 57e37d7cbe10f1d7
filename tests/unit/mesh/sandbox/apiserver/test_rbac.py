from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from mesh.sandbox.apiserver.authn import User
from mesh.sandbox.apiserver.rbac import Attributes, bootstrap, rule_allows
from tests.support.apiserver_local import local

RBAC = "/apis/rbac.authorization.k8s.io/v1"


def rule(**more: list[str]) -> dict[str, Any]:
    return {"verbs": ["get"], "apiGroups": [""], "resources": ["pods"], **more}


@pytest.mark.parametrize(
    ("given", "asked", "allowed"),
    [
        (rule(), Attributes("get", "", "pods"), True), (rule(), Attributes("list", "", "pods"), False), (rule(), Attributes("get", "apps", "pods"), False),
        (rule(), Attributes("get", "", "pods", "log"), False), (rule(resources=["pods/log"]), Attributes("get", "", "pods", "log"), True),
        (rule(resources=["*/log"]), Attributes("get", "", "pods", "log"), True), (rule(resources=["*"]), Attributes("get", "", "pods", "log"), True),
        (rule(resources=["pods/log"]), Attributes("get", "", "pods"), False), (rule(verbs=["*"], apiGroups=["*"], resources=["*"]), Attributes("x", "y", "z"), True),
        (rule(resourceNames=["a"]), Attributes("get", "", "pods", name="a"), True), (rule(resourceNames=["a"]), Attributes("get", "", "pods", name="b"), False),
        (rule(resourceNames=["a"]), Attributes("get", "", "pods"), False),
        ({"verbs": ["get"], "nonResourceURLs": ["/api/*"]}, Attributes("get", path="/api/v1"), True), ({"verbs": ["get"], "nonResourceURLs": ["/api"]}, Attributes("get", path="/api/v1"), False),
        (rule(resources=["*"]), Attributes("get", path="/api"), False),
    ],
)  # fmt: skip
def test_rules(given: dict[str, Any], asked: Attributes, allowed: bool) -> None:
    assert rule_allows(given, asked) is allowed


async def test_bindings_decide_where(tmp_path: Path) -> None:
    async with local(tmp_path) as api:
        jane, dev = User("jane"), User("x", ("dev",))
        ask = Attributes("get", "", "pods", namespace="default")
        allows = api.cluster.authorizer.allows
        assert not allows(jane, ask) and allows(User("root", ("system:masters",)), Attributes("any", path="/x"))
        await api.create(f"{RBAC}/clusterroles", "r", rules=[rule()])
        reference = {"kind": "ClusterRole", "name": "r"}
        await api.create(f"{RBAC}/namespaces/default/rolebindings", "b", roleRef=reference, subjects=[{"kind": "User", "name": "jane"}])
        assert allows(jane, ask) and not allows(jane, Attributes("get", "", "pods", namespace="other")) and not allows(jane, Attributes("get", "", "pods"))
        await api.create(f"{RBAC}/clusterrolebindings", "c", roleRef=reference, subjects=[{"kind": "Group", "name": "dev"}])
        assert allows(dev, Attributes("get", "", "pods")) and allows(dev, Attributes("get", "", "pods", namespace="other"))
        await api.call("DELETE", f"{RBAC}/clusterroles/r")
        assert not allows(jane, ask) and not allows(dev, ask)


def test_refusal_says_what_was_asked() -> None:
    assert Attributes("get", path="/x").describe(User("u")) == 'User "u" cannot get path "/x"'
    assert Attributes("get", "apps", "deployments", "scale", "n").describe(User("u")) == 'User "u" cannot get resource "deployments/scale" in API group "apps" in the namespace "n"'


def test_every_bootstrap_binding_has_its_role() -> None:
    made = bootstrap()
    roles = {o["metadata"]["name"] for o in made if o["kind"] == "ClusterRole"}
    assert {o["roleRef"]["name"] for o in made if o["kind"] == "ClusterRoleBinding"} <= roles and "cluster-admin" in roles
