from typing import Any

import pytest

from injector import pod
from injector.pod import BadPod, Workload
from tests.support import injector_pods
from tests.support.injector_pods import app


def owned(kind: str, name: str, **labels: str) -> dict[str, Any]:
    return {"metadata": {"labels": labels, "ownerReferences": [{"controller": True, "kind": kind, "name": name, "apiVersion": "apps/v1"}]}, "spec": {}}


@pytest.mark.parametrize(
    ("item", "name", "kind"),
    [
        (owned("ReplicaSet", "reviews-v1-5d8", **{"pod-template-hash": "5d8"}), "reviews-v1", "Deployment"),
        (owned("ReplicaSet", "bare", **{"pod-template-hash": "5d8"}), "bare", "ReplicaSet"),
        (owned("Job", "backup-28712345"), "backup", "CronJob"),
        (owned("Job", "once"), "once", "Job"),
        (owned("StatefulSet", "db"), "db", "StatefulSet"),
        ({"metadata": {"name": "alone"}}, "alone", "Pod"),
        ({"metadata": {"generateName": "alone-"}}, "alone", "Pod"),
    ],
)
def test_workload_behind_the_pod(item: dict[str, Any], name: str, kind: str) -> None:
    found = pod.workload(item, "ns")
    assert (found.name, found.kind) == (name, kind)


def test_owner_is_istios_form() -> None:
    assert Workload("a", "Deployment", "apps/v1", "ns").owner == "kubernetes://apis/apps/v1/namespaces/ns/deployments/a"


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        ({"app": "a", "version": "v2"}, ("a", "v2")),
        ({"app.kubernetes.io/name": "n", "app": "a", "app.kubernetes.io/version": "7"}, ("n", "7")),
        ({"service.istio.io/canonical-name": "c", "service.istio.io/canonical-revision": "r", "app": "a"}, ("c", "r")),
        ({}, ("w", "latest")),
        ({"app": ""}, ("w", "latest")),
    ],
)
def test_canonical_labels(labels: dict[str, str], expected: tuple[str, str]) -> None:
    assert pod.canonical_labels({"metadata": {"labels": labels}}, "w") == expected


def test_canonical_name_fits_a_label() -> None:
    name, _ = pod.canonical_labels({}, "a" * 62 + "-b")
    assert name == "a" * 62


FIXED = {"limits": {"cpu": "1", "memory": "1Gi"}}


@pytest.mark.parametrize(
    ("resources", "guaranteed"),
    [
        ([FIXED, FIXED], True),
        ([{**FIXED, "requests": {"cpu": "1"}}], True),
        ([{**FIXED, "requests": {"cpu": "0.5"}}], False),
        ([FIXED, {}], False),
        ([{"limits": {"cpu": "1"}}], False),
    ],
)
def test_class_guaranteed_needs_equal_limits_everywhere(resources: list[dict[str, Any]], guaranteed: bool) -> None:
    containers = [app(f"c{index}", resources=item) for index, item in enumerate(resources)]
    assert pod.is_guaranteed(injector_pods.pod(*containers)) is guaranteed


@pytest.mark.parametrize(
    ("item", "message"),
    [
        ({}, "spec: is missing"),
        ({"spec": []}, "spec: must be a mapping"),
        ({"spec": {"containers": {}}}, "spec.containers: must be a list"),
        ({"spec": {"containers": [{"image": "x"}]}}, "spec.containers[0].name: is missing"),
    ],
)
def test_malformed_spec_is_named(item: dict[str, Any], message: str) -> None:
    with pytest.raises(BadPod) as caught:
        pod.containers(item)
    assert message in str(caught.value)


def test_label_that_is_no_string_is_named() -> None:
    with pytest.raises(BadPod, match=r"metadata\.labels\.a: must be a string, not True"):
        pod.labels({"metadata": {"labels": {"a": True}}})
