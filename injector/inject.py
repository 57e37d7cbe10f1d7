"""Inject: offline injection of YAML documents, what `meshctl inject -f -` runs.

Documents of other kinds pass through byte for byte. A document that is changed is written anew, so its comments
are lost.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import yaml

from injector import decide
from injector.patch import inject
from injector.pod import BadPod, Json, Workload
from injector.settings import Settings

# kind → the path of the pod template in it; () is the object itself.
_TEMPLATES = {
    "Pod": (),
    "Deployment": ("spec", "template"),
    "ReplicaSet": ("spec", "template"),
    "DaemonSet": ("spec", "template"),
    "StatefulSet": ("spec", "template"),
    "ReplicationController": ("spec", "template"),
    "Job": ("spec", "template"),
    "CronJob": ("spec", "jobTemplate", "spec", "template"),
    "DeploymentConfig": ("spec", "template"),
}
_SEPARATOR = re.compile(r"^---(?=\s|$)", re.MULTILINE)


class BadDocument(ValueError):
    """A document that cannot be read or injected; the message names its number, kind and name."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What was done with one workload: for the user's report on standard error."""

    reference: str
    injected: bool
    sentence: str
    warnings: tuple[str, ...] = ()


def inject_documents(text: str, settings: Settings) -> str:
    """`inject_report` without its report."""
    return inject_report(text, settings)[0]


def inject_report(text: str, settings: Settings) -> tuple[str, list[Outcome]]:
    """The text with every workload injected, as if its namespace were labelled triomesh-injection=enabled.

    Raises: BadDocument: a document is not YAML, or asks for what cannot be done. Nothing is returned half done.
    """
    outcomes: list[Outcome] = []
    parts = []
    for number, (separator, document) in enumerate(_split(text), 1):
        try:
            value = yaml.safe_load(document)
        except yaml.YAMLError as exc:
            raise BadDocument(f"document {number}: is not YAML: {' '.join(str(exc).split())}") from exc
        changed = _inject_object(value, settings, outcomes, f"document {number}")
        if changed is not value:
            document = ("\n" if separator else "") + dump(changed)
        parts.append(separator + document)
    return "".join(parts), outcomes


def dump(value: object) -> str:
    """Kubernetes-style YAML: insertion order, no anchors, long strings unbroken."""
    return yaml.dump(value, Dumper=_Dumper, sort_keys=False, default_flow_style=False, width=2**31)


class _Dumper(yaml.SafeDumper):
    def ignore_aliases(self, data: Any) -> bool:
        return True


def _split(text: str) -> Iterator[tuple[str, str]]:
    """(separator, document) pairs whose concatenation is the text again."""
    starts = [match.start() for match in _SEPARATOR.finditer(text)]
    if not starts or text[: starts[0]].strip():
        yield "", text[: starts[0]] if starts else text
        before = ""
    else:
        before = text[: starts[0]]
    for start, end in zip(starts, [*starts[1:], len(text)]):
        yield before + "---", text[start + 3 : end]
        before = ""


def _inject_object(value: Any, settings: Settings, outcomes: list[Outcome], where: str) -> Any:
    """The object injected, or the very same object when there is nothing to do."""
    if value is None:
        return value  # an empty document
    if not isinstance(value, dict):
        raise BadDocument(f"{where}: must be a mapping (an object of Kubernetes), not {_shown(value)}")
    kind = value.get("kind")
    if kind == "List" or (isinstance(kind, str) and kind.endswith("List") and isinstance(value.get("items"), list)):
        items = value.get("items") or []
        done = [_inject_object(item, settings, outcomes, f"{where} items[{at}]") for at, item in enumerate(items)]
        return value if all(new is old for new, old in zip(done, items)) else {**value, "items": done}
    if kind not in _TEMPLATES:
        return value
    meta = value.get("metadata") or {}
    if not isinstance(meta, dict):
        raise BadDocument(f"{where}: {kind}: metadata: must be a mapping, not {meta!r}")
    namespace = meta.get("namespace") or "default"
    reference = f"{kind} {namespace}/{meta.get('name') or meta.get('generateName') or 'unnamed'}"
    owner = None if kind == "Pod" else Workload(str(meta.get("name") or ""), kind, value.get("apiVersion", ""), namespace)
    try:
        return _inject_at(value, _TEMPLATES[kind], settings, owner, namespace, reference, outcomes)
    except BadPod as exc:
        raise BadDocument(f"{where}: {reference}: {exc}") from exc


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _inject_at(
    value: Json, path: tuple[str, ...], settings: Settings, owner: Workload | None, namespace: str, reference: str,
    outcomes: list[Outcome],
) -> Json:  # fmt: skip
    if path:
        inner = value.get(path[0])
        if not isinstance(inner, dict):
            raise BadPod(f"{path[0]}: is missing")
        changed = _inject_at(inner, path[1:], settings, owner, namespace, reference, outcomes)
        return value if changed is inner else {**value, path[0]: changed}
    decision = decide.decide(value, namespace, {"triomesh-injection": "enabled"}, settings)
    if not decision.inject:
        outcomes.append(Outcome(reference, False, decision.sentence, decision.warnings))
        return value
    done = inject(value, namespace, settings, owner)
    if done.pod == value:
        outcomes.append(Outcome(reference, False, "is injected already, with these very settings", done.warnings))
        return value
    outcomes.append(Outcome(reference, True, decision.sentence, decision.warnings + done.warnings))
    return done.pod
