from typing import Any

import pytest

from injector.decide import Reason, decide
from injector.selector import parse_selector
from injector.settings import Settings
from tests.support.injector_pods import app, pod

ENABLED = {"triomesh-injection": "enabled"}
OURS, ISTIOS = "sidecar.triomesh.io/inject", "sidecar.istio.io/inject"
NEVER = Settings(never_selectors=(parse_selector({"matchLabels": {"job": "x"}}, "s"),))
ALWAYS = Settings(always_selectors=(parse_selector({"matchLabels": {"job": "x"}}, "s"),), inject_by_default=False)


@pytest.mark.parametrize(
    ("item", "labels", "settings", "inject", "reason"),
    [
        (pod(), ENABLED, Settings(), True, Reason.NAMESPACE_ENABLED),
        (pod(), {"istio-injection": "enabled"}, Settings(), True, Reason.NAMESPACE_ENABLED),
        (pod(), {}, Settings(), False, Reason.NOT_LABELLED),
        (pod(), {"triomesh-injection": "disabled"}, Settings(), False, Reason.NAMESPACE_DISABLED),
        (pod(), {"triomesh-injection": "disabled", "istio-injection": "enabled"}, Settings(), False, Reason.NAMESPACE_DISABLED),
        (pod(), {"triomesh-injection": "yes", "triomesh.io/rev": "default"}, Settings(), True, Reason.NAMESPACE_ENABLED),
        (pod(), {"triomesh.io/rev": "default"}, Settings(), True, Reason.NAMESPACE_ENABLED),
        (pod(), {"istio.io/rev": "canary"}, Settings(), False, Reason.OTHER_REVISION),
        (pod(), {"istio.io/rev": "canary"}, Settings(revision="canary"), True, Reason.NAMESPACE_ENABLED),
        (pod(), {**ENABLED, "triomesh.io/rev": "other"}, Settings(), True, Reason.NAMESPACE_ENABLED),
        (pod(labels={"istio.io/rev": "default"}), {}, Settings(), True, Reason.NAMESPACE_ENABLED),
        (pod(labels={OURS: "true"}), {}, Settings(), True, Reason.POD_ENABLED),
        (pod(labels={ISTIOS: "true"}), {}, Settings(), True, Reason.POD_ENABLED),
        (pod(labels={OURS: "false"}), ENABLED, Settings(), False, Reason.POD_DISABLED),
        (pod(labels={OURS: "true", ISTIOS: "false"}), ENABLED, Settings(), False, Reason.POD_DISABLED),
        (pod(labels={OURS: "true"}), {"triomesh-injection": "disabled"}, Settings(), False, Reason.NAMESPACE_DISABLED),
        (pod(annotations={ISTIOS: "false"}), ENABLED, Settings(), False, Reason.POD_DISABLED),
        (pod(labels={OURS: "true"}, annotations={OURS: "false"}), ENABLED, Settings(), True, Reason.POD_ENABLED),
        (pod(labels={OURS: "maybe"}), ENABLED, Settings(), True, Reason.NAMESPACE_ENABLED),
        (pod(hostNetwork=True, ), ENABLED, Settings(), False, Reason.HOST_NETWORK),
        (pod(labels={OURS: "true"}, hostNetwork=True), ENABLED, Settings(), False, Reason.HOST_NETWORK),
        (pod(nodeSelector={"kubernetes.io/os": "windows"}), ENABLED, Settings(), False, Reason.WINDOWS),
        (pod(app(), app("linkerd-proxy")), ENABLED, Settings(), False, Reason.OTHER_SIDECAR),
        (pod(annotations={"sidecar.istio.io/status": "{}"}), ENABLED, Settings(), False, Reason.OTHER_SIDECAR),
        (pod(labels={"job": "x"}), ENABLED, NEVER, False, Reason.NEVER_SELECTOR),
        (pod(labels={"job": "x", OURS: "true"}), ENABLED, NEVER, True, Reason.POD_ENABLED),
        (pod(labels={"job": "x"}), ENABLED, ALWAYS, True, Reason.ALWAYS_SELECTOR),
        (pod(), ENABLED, ALWAYS, False, Reason.POLICY_DISABLED),
    ],
)  # fmt: skip
def test_decisions(item: dict[str, Any], labels: dict[str, str], settings: Settings, inject: bool, reason: Reason) -> None:
    decision = decide(item, "default", labels, settings)
    assert (decision.inject, decision.reason) == (inject, reason)
    assert decision.sentence


@pytest.mark.parametrize("namespace", ["kube-system", "kube-public", "kube-node-lease", "local-path-storage", "triomesh-system"])
def test_system_namespaces_are_never_injected(namespace: str) -> None:
    assert decide(pod(labels={OURS: "true"}), namespace, ENABLED, Settings()).reason is Reason.NEVER_NAMESPACE


def test_opted_in_tells_a_refusal_from_a_pod_that_nobody_asked_about() -> None:
    assert decide(pod(hostNetwork=True), "default", ENABLED, Settings()).opted_in
    assert not decide(pod(hostNetwork=True), "default", {}, Settings()).opted_in
    assert not decide(pod(labels={OURS: "false"}), "default", ENABLED, Settings()).opted_in


def test_meaningless_value_and_deprecated_annotation_are_warned_of() -> None:
    assert 'label sidecar.triomesh.io/inject=\'maybe\': only "true" and "false"' in decide(pod(labels={OURS: "maybe"}), "d", {}, Settings()).warnings[0]
    assert "deprecated" in decide(pod(annotations={OURS: "true"}), "d", {}, Settings()).warnings[0]
