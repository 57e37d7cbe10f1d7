from __future__ import annotations

import pytest

from mesh.sandbox.apiserver import discovery
from mesh.sandbox.apiserver.kinds import builtin
from mesh.sandbox.apiserver.registry import Registry

REGISTRY = Registry(builtin())


def test_versions_are_ranked_as_kubernetes_does() -> None:
    order = ["v10", "v2", "v1", "v11beta2", "v10beta3", "v3beta1", "v12alpha1", "v11alpha2", "foo1", "foo10"]
    assert sorted(sorted(order), key=discovery.version_rank) == order


def test_group_and_resource_lists() -> None:
    apps = discovery.group(REGISTRY, "apps")
    assert apps["preferredVersion"] == {"groupVersion": "apps/v1", "version": "v1"}
    listed = {r["name"]: r for r in discovery.resource_list(REGISTRY, "apps", "v1")["resources"]}
    assert listed["deployments"]["shortNames"] == ["deploy"] and listed["deployments/scale"]["kind"] == "Scale" and listed["deployments/status"]["verbs"] == ["get", "patch", "update"]
    with pytest.raises(KeyError):
        discovery.group(REGISTRY, "nope")
    assert [g["name"] for g in discovery.group_list(REGISTRY)["groups"]][:2] == ["apps", "events.k8s.io"]


def test_aggregated_says_the_same() -> None:
    core = discovery.aggregated(REGISTRY, True, "v2")
    assert [i["metadata"].get("name") for i in core["items"]] == [None] and core["apiVersion"] == "apidiscovery.k8s.io/v2"
    names = {r["resource"] for r in core["items"][0]["versions"][0]["resources"]}
    assert names == {r["name"] for r in discovery.resource_list(REGISTRY, "", "v1")["resources"] if "/" not in r["name"]}
    pods = next(r for r in core["items"][0]["versions"][0]["resources"] if r["resource"] == "pods")
    assert "log" in {s["subresource"] for s in pods["subresources"]} and pods["scope"] == "Namespaced"
    assert "" not in {i["metadata"]["name"] for i in discovery.aggregated(REGISTRY, False, "v2")["items"]}


def test_every_subresource_has_verbs() -> None:
    assert all(name in discovery.SUBRESOURCE_VERBS for r in builtin() for name in discovery.subresources(r))
