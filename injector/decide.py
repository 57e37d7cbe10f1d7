"""Decision: whether a pod gets a sidecar, and why (not).

The order is Istio's (injectRequired and the selectors of its webhook): what can never work, then the namespace's
"no", then the pod's own word, then the administrator's selectors, then the namespace's "yes".
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any

from injector import keys, pod, shape
from injector.keys import Given
from injector.settings import Settings


class Reason(Enum):
    """Why. The value is the machine word, stable: it is in metrics and Events."""

    HOST_NETWORK = "host-network"
    WINDOWS = "windows-node"
    NEVER_NAMESPACE = "never-injected-namespace"
    OTHER_SIDECAR = "other-sidecar"
    NAMESPACE_DISABLED = "namespace-disabled"
    OTHER_REVISION = "other-revision"
    POD_DISABLED = "pod-disabled"
    POD_ENABLED = "pod-enabled"
    NEVER_SELECTOR = "never-inject-selector"
    ALWAYS_SELECTOR = "always-inject-selector"
    NAMESPACE_ENABLED = "namespace-enabled"
    POLICY_DISABLED = "policy-disabled"
    NOT_LABELLED = "not-labelled"


@dataclass(frozen=True, slots=True)
class Decision:
    """The answer. `opted_in` and not `inject` is what deserves an Event: somebody asked and did not get."""

    inject: bool
    reason: Reason
    sentence: str
    opted_in: bool = False
    warnings: tuple[str, ...] = ()


def decide(pod_object: Mapping[str, Any], namespace: str, namespace_labels: Mapping[str, str], settings: Settings) -> Decision:
    """Whether this pod, created in this namespace, is to be injected.

    Args: pod_object: Pod or pod template as JSON; namespace: where it is created (its own metadata may be silent).
    Raises: BadPod: the object cannot be read.
    """
    shape.check(pod_object)
    asked, warnings = _pod_word(pod_object)
    space = _Namespace.of(namespace_labels, pod.labels(pod_object), settings.revision)
    opted_in = (space.enabled and (asked is None or asked.value == "true")) or (asked is not None and asked.value == "true")

    def answer(inject: bool, reason: Reason, sentence: str) -> Decision:
        return Decision(inject, reason, sentence, opted_in, warnings)

    if impossible := _impossible(pod_object, namespace, settings):
        return answer(False, *impossible)
    if space.refusal:
        return answer(False, *space.refusal)
    if asked is not None:
        reason = Reason.POD_ENABLED if asked.value == "true" else Reason.POD_DISABLED
        return answer(asked.value == "true", reason, f"the pod says {asked}")
    found = pod.labels(pod_object)
    if any(selector.matches(found) for selector in settings.never_selectors):
        return answer(False, Reason.NEVER_SELECTOR, "the pod's labels match neverInjectSelector of the injector's settings")
    if any(selector.matches(found) for selector in settings.always_selectors):
        return answer(True, Reason.ALWAYS_SELECTOR, "the pod's labels match alwaysInjectSelector of the injector's settings")
    if not space.enabled:
        sentence = f"namespace {namespace} has no label {keys.NAMESPACE_INJECTION[0]}=enabled and the pod does not ask"
        return answer(False, Reason.NOT_LABELLED, sentence)
    if not settings.inject_by_default:
        return answer(False, Reason.POLICY_DISABLED, "policy: disabled in the injector's settings, and the pod does not ask")
    return answer(True, Reason.NAMESPACE_ENABLED, f"namespace {namespace} is labelled {space.why}")


@dataclass(frozen=True, slots=True)
class _Namespace:
    """What the namespace (and the revision labels) say."""

    enabled: bool
    why: Given | None = None
    refusal: tuple[Reason, str] | None = None

    @classmethod
    def of(cls, labels: Mapping[str, str], pod_labels: Mapping[str, str], revision: str) -> "_Namespace":
        # A value that means nothing counts as no label, as in the webhook's selectors.
        sane = {key: value for key, value in labels.items() if value in ("enabled", "disabled")}
        given = keys.find(sane, keys.NAMESPACE_INJECTION)
        if given and given.value == "disabled":
            return cls(False, given, (Reason.NAMESPACE_DISABLED, f"the namespace is labelled {given}"))
        if given:
            # Istio: the injection label wins over the revision label on one namespace (IST0123 warns).
            return cls(True, given)
        rev = keys.find(labels, keys.REVISION) or keys.find(pod_labels, keys.REVISION)
        if rev and rev.value != revision:
            return cls(False, rev, (Reason.OTHER_REVISION, f"{rev} names another revision than this injector's, {revision!r}"))
        return cls(rev is not None, rev)


def _impossible(pod_object: Mapping[str, Any], namespace: str, settings: Settings) -> tuple[Reason, str] | None:
    spec = pod.spec(pod_object)
    if spec.get("hostNetwork"):
        return Reason.HOST_NETWORK, "spec.hostNetwork is true: its interception rules would be the node's own"
    if namespace in settings.never_namespaces:
        return Reason.NEVER_NAMESPACE, f"pods of namespace {namespace} are never injected"
    system = (spec.get("os") or {}).get("name") or (spec.get("nodeSelector") or {}).get("kubernetes.io/os")
    if system == "windows":
        return Reason.WINDOWS, "the pod wants a Windows node, which has no netfilter"
    other = _other_sidecar(pod_object)
    if other:
        return Reason.OTHER_SIDECAR, f"the pod already has a sidecar of another mesh ({other})"
    return None


def _other_sidecar(pod_object: Mapping[str, Any]) -> str:
    if keys.FOREIGN_STATUS in pod.annotations(pod_object):
        return f"annotation {keys.FOREIGN_STATUS}"
    for container in [*pod.containers(pod_object), *pod.containers(pod_object, "initContainers")]:
        if container["name"] in ("linkerd-proxy", "kuma-sidecar"):
            return f"container {container['name']}"
    return ""


def _pod_word(pod_object: Mapping[str, Any]) -> tuple[Given | None, tuple[str, ...]]:
    """The pod's own true or false. Any "false" among the labels wins, as in the webhook's selectors.

    The annotation of the same name is the deprecated form: read only when there is no label.
    """
    warnings: list[str] = []
    for source, noun in ((pod.labels(pod_object), "label"), (pod.annotations(pod_object), "annotation")):
        given = [Given(p + "inject", source[p + "inject"]) for p in keys.SIDECAR if p + "inject" in source]
        valid = [item for item in given if item.value in ("true", "false")]
        warnings += [f'{noun} {item}: only "true" and "false" mean something; ignored' for item in given if item not in valid]
        if valid and noun == "annotation":
            warnings.append(f"annotation {valid[0].key} is deprecated; write it as a label")
        if valid:
            return next((item for item in valid if item.value == "false"), valid[0]), tuple(warnings)
    return None, tuple(warnings)
