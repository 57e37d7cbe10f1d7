"""Command, environment and user of a container."""

from typing import Any

import pytest

from mesh.sandbox.images import Image
from mesh.sandbox.node import podspec
from mesh.sandbox.node.podspec import Facts, SpecError

FACTS = Facts("198.18.1.5", "198.18.0.1", "node", 2, 1 << 30)
IMAGE = Image(("entry",), ("arg",), {"FROM": "image"}, 0, 0, "/")
CONTAINER: dict[str, Any] = {"name": "c", "image": "i", "resources": {"limits": {"cpu": "500m", "memory": "64Mi"}}}
POD: dict[str, Any] = {
    "metadata": {"name": "p", "namespace": "ns", "uid": "u", "labels": {"app": "web", "a": 'q"x'}},
    "spec": {"serviceAccountName": "sa", "containers": [CONTAINER]},
}


def lookup(kind: str, name: str) -> dict[str, Any] | None:
    return {("ConfigMap", "cm"): {"K": "v", "B": b"\xff"}, ("Secret", "s"): {"P": b"secret"}}.get((kind, name))


def env(*items: dict[str, Any], sources: tuple[dict[str, Any], ...] = ()) -> dict[str, str]:
    container = {**CONTAINER, "env": list(items), "envFrom": list(sources)}
    return podspec.environment(POD, container, IMAGE, FACTS, {"SVC_HOST": "1.2.3.4"}, lookup)


@pytest.mark.parametrize(
    ("text", "expected"), [("$(A)", "1"), ("$$(A)", "$(A)"), ("$(NONE)", "$(NONE)"), ("a$", "a$"), ("$(A)$(A)", "11"), ("$$$$", "$$")]
)
def test_references_expand(text: str, expected: str) -> None:
    assert podspec.expand(text, {"A": "1"}) == expected


@pytest.mark.parametrize(
    ("source", "value"),
    [
        ({"fieldRef": {"fieldPath": "status.podIP"}}, "198.18.1.5"),
        ({"fieldRef": {"fieldPath": "status.hostIP"}}, "198.18.0.1"),
        ({"fieldRef": {"fieldPath": "spec.serviceAccountName"}}, "sa"),
        ({"fieldRef": {"fieldPath": "metadata.labels['app']"}}, "web"),
        ({"fieldRef": {"fieldPath": "metadata.annotations['none']"}}, ""),
        ({"fieldRef": {"fieldPath": "metadata.labels"}}, 'a="q\\"x"\napp="web"'),
        ({"resourceFieldRef": {"resource": "limits.cpu"}}, "1"),
        ({"resourceFieldRef": {"resource": "limits.cpu", "divisor": "1m"}}, "500"),
        ({"resourceFieldRef": {"resource": "limits.memory", "divisor": "1Mi"}}, "64"),
        ({"resourceFieldRef": {"resource": "requests.cpu"}}, "1"),
        ({"configMapKeyRef": {"name": "cm", "key": "K"}}, "v"),
        ({"secretKeyRef": {"name": "s", "key": "P"}}, "secret"),
    ],
)
def test_values_from_elsewhere(source: dict[str, Any], value: str) -> None:
    assert env({"name": "X", "valueFrom": source})["X"] == value


def test_the_cpus_of_the_node_stand_for_a_missing_limit() -> None:
    pod = {**POD, "spec": {"containers": [{"name": "c"}]}}
    assert podspec.resource_value(pod, {"name": "c"}, {"resource": "limits.cpu"}, FACTS) == "2"


def test_later_sources_win_and_see_earlier_ones() -> None:
    found = env({"name": "FROM", "value": "own"}, {"name": "Y", "value": "$(pre_K)-$(FROM)-$(SVC_HOST)"}, sources=({"prefix": "pre_", "configMapRef": {"name": "cm"}},))
    assert (found["FROM"], found["Y"]) == ("own", "v-own-1.2.3.4")


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ({"configMapKeyRef": {"name": "none", "key": "K"}}, 'configmap "none" not found'),
        ({"configMapKeyRef": {"name": "cm", "key": "none"}}, "couldn't find key none in ConfigMap cm"),
        ({"fieldRef": {"fieldPath": "status.none"}}, "unsupported fieldPath: status.none"),
        ({"fileKeyRef": {}}, "env X: valueFrom fileKeyRef"),
    ],
)
def test_what_is_missing_is_named(source: dict[str, Any], message: str) -> None:
    with pytest.raises(SpecError, match=message):
        env({"name": "X", "valueFrom": source})


def test_what_is_optional_may_be_missing() -> None:
    found = env({"name": "X", "valueFrom": {"secretKeyRef": {"name": "none", "key": "k", "optional": True}}}, sources=({"secretRef": {"name": "none", "optional": True}},))
    assert "X" not in found


@pytest.mark.parametrize(
    ("own", "argv"),
    [
        ({}, ["entry", "arg"]),
        ({"args": ["$(A)"]}, ["entry", "1"]),
        ({"command": ["x"]}, ["x"]),
        ({"command": ["x"], "args": ["y"]}, ["x", "y"]),
    ],
)
def test_command_and_args_replace_the_images(own: dict[str, Any], argv: list[str]) -> None:
    assert podspec.command({"name": "c", **own}, IMAGE, {"A": "1"}) == argv


def test_service_links_are_of_the_own_namespace_and_of_kubernetes() -> None:
    services = [
        {"metadata": {"namespace": "default", "name": "kubernetes"}, "spec": {"clusterIP": "198.19.0.1", "ports": [{"name": "https", "port": 443}]}},
        {"metadata": {"namespace": "ns", "name": "my-db"}, "spec": {"clusterIP": "198.19.0.2", "ports": [{"port": 5432}]}},
        {"metadata": {"namespace": "other", "name": "x"}, "spec": {"clusterIP": "198.19.0.3", "ports": [{"port": 1}]}},
        {"metadata": {"namespace": "ns", "name": "headless"}, "spec": {"clusterIP": "None", "ports": [{"port": 1}]}},
    ]
    found = podspec.service_environment(services, "ns", True)
    assert found["KUBERNETES_SERVICE_HOST"] == "198.19.0.1"
    assert found["MY_DB_PORT_5432_TCP_ADDR"] == "198.19.0.2"
    assert not any(key.startswith(("X_", "HEADLESS_")) for key in found)
    assert "MY_DB_PORT" not in podspec.service_environment(services, "ns", False)


def user(general: dict[str, Any], own: dict[str, Any]) -> podspec.User:
    return podspec.user({"spec": {"securityContext": general}}, {"name": "c", "securityContext": own}, IMAGE)


def test_a_container_overrides_its_pods_user() -> None:
    found = user({"runAsUser": 1, "runAsGroup": 2, "fsGroup": 3, "supplementalGroups": [4]}, {"runAsUser": 5})
    assert (found.uid, found.gid, found.groups) == (5, 2, (2, 3, 4))


def test_root_is_refused_where_it_is_forbidden() -> None:
    with pytest.raises(SpecError, match="runAsNonRoot"):
        user({"runAsNonRoot": True}, {})


def test_capabilities_are_dropped_before_others_are_added() -> None:
    assert user({}, {"capabilities": {"drop": ["ALL"], "add": ["NET_ADMIN", "CAP_NET_RAW"]}}).capabilities == {"NET_ADMIN", "NET_RAW"}
    assert "NET_ADMIN" not in user({}, {}).capabilities
    with pytest.raises(SpecError, match="unknown capability 'FLY'"):
        user({}, {"capabilities": {"add": ["FLY"]}})
