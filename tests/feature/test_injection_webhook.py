"""The webhook configuration and decide() agree, over every combination of the labels that matter."""

import itertools
from pathlib import Path
from typing import Any

import yaml

from injector.decide import decide
from injector.selector import parse_selector
from injector.settings import NEVER_NAMESPACES, Settings
from tests.support.injector_pods import app

ROOT = Path(__file__).resolve().parents[2]
CONFIGURATION = yaml.safe_load((ROOT / "charts/triomesh/manifests/35-webhook.yaml").read_text())
ENTRIES = [
    (item["name"], parse_selector(item["namespaceSelector"], item["name"]), parse_selector(item["objectSelector"], item["name"]))
    for item in CONFIGURATION["webhooks"]
]
NAMESPACE = {
    "triomesh-injection": [None, "enabled", "disabled", "odd"],
    "istio-injection": [None, "enabled", "disabled"],
    "triomesh.io/rev": [None, "default", "other"],
    "istio.io/rev": [None, "default", "other"],
}
POD = {
    "sidecar.triomesh.io/inject": [None, "true", "false", "odd"],
    "sidecar.istio.io/inject": [None, "true", "false"],
    "triomesh.io/rev": [None, "default", "other"],
    "istio.io/rev": [None, "default", "other"],
}


def combinations(values: dict[str, list[Any]]) -> list[dict[str, str]]:
    return [{key: value for key, value in zip(values, choice) if value is not None} for choice in itertools.product(*values.values())]


def called(namespace: str, labels: dict[str, str], pod_labels: dict[str, str]) -> list[str]:
    labels = {**labels, "kubernetes.io/metadata.name": namespace}
    return [name for name, space, item in ENTRIES if space.matches(labels) and item.matches(pod_labels)]


def test_pod_is_sent_at_most_once_and_exactly_when_it_would_be_injected() -> None:
    checked = 0
    for labels in combinations(NAMESPACE):
        for pod_labels in combinations(POD):
            entries = called("default", labels, pod_labels)
            item = {"metadata": {"labels": pod_labels}, "spec": {"containers": [app()]}}
            decision = decide(item, "default", labels, Settings())
            assert len(entries) == decision.inject, (labels, pod_labels, entries, decision)
            checked += 1
    assert checked == 108 * 108


def test_system_namespaces_never_call() -> None:
    for namespace in NEVER_NAMESPACES:
        assert called(namespace, {"triomesh-injection": "enabled"}, {"sidecar.triomesh.io/inject": "true"}) == []


def test_entries_fail_closed_quickly_and_without_side_effects_on_dry_run() -> None:
    for item in CONFIGURATION["webhooks"]:
        assert (item["failurePolicy"], item["timeoutSeconds"], item["reinvocationPolicy"]) == ("Fail", 5, "Never")
        assert (item["sideEffects"], item["admissionReviewVersions"]) == ("NoneOnDryRun", ["v1"])
