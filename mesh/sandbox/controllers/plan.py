"""What a controller decides: a list of actions and, when only time can change the answer, when to look again. Pure."""

import hashlib
import json
from dataclasses import dataclass, field
from typing import Any

from mesh.sandbox.kubeclient import Resource
from mesh.sandbox.labels import meets

Json = dict[str, Any]
_NAME_ALPHABET = "bcdfghjklmnpqrstvwxz2456789"
"""Kubernetes' "safe" alphabet: no vowels, so that no words appear."""


@dataclass(frozen=True, slots=True)
class Create:
    """POST `body`. `why` = (owner, message) records an Event about the owner."""

    resource: Resource
    body: Json
    ignore_existing: bool = False


@dataclass(frozen=True, slots=True)
class Delete:
    """DELETE one object, if it still is the one with this uid."""

    resource: Resource
    obj: Json
    propagation: str | None = None


@dataclass(frozen=True, slots=True)
class Patch:
    """Merge patch of an object, or of a subresource."""

    resource: Resource
    obj: Json
    body: Json
    sub: str = ""


@dataclass(frozen=True, slots=True)
class Note:
    """An Event about `obj`."""

    obj: Json
    kind: str
    reason: str
    message: str


Action = Create | Delete | Patch | Note


@dataclass(slots=True)
class Plan:
    """Actions in order. `again_seconds` = look again after this long even if nothing changes."""

    actions: list[Action] = field(default_factory=list)
    again_seconds: float | None = None

    def again(self, seconds: float) -> None:
        """Look again after the shortest of all asked for."""
        self.again_seconds = seconds if self.again_seconds is None else min(self.again_seconds, seconds)


def owner_reference(owner: Json) -> Json:
    """A controlling reference to `owner`."""
    return {
        "apiVersion": owner["apiVersion"],
        "kind": owner["kind"],
        "name": owner["metadata"]["name"],
        "uid": owner["metadata"]["uid"],
        "controller": True,
        "blockOwnerDeletion": True,
    }


def controller_of(obj: Json) -> Json | None:
    """The owner reference with `controller: true`."""
    for reference in obj["metadata"].get("ownerReferences") or ():
        if reference.get("controller"):
            found: Json = reference
            return found
    return None


def is_controlled_by(obj: Json, owner: Json) -> bool:
    reference = controller_of(obj)
    return reference is not None and reference["uid"] == owner["metadata"]["uid"]


def matches(selector: Json | None, labels: Json | None) -> bool:
    """Whether a LabelSelector selects `labels`. None or an empty selector selects nothing here: no workload may own everything."""
    labels = labels or {}
    if not selector or not (selector.get("matchLabels") or selector.get("matchExpressions")):
        return False
    if any(labels.get(key) != value for key, value in (selector.get("matchLabels") or {}).items()):
        return False
    return all(meets(item, labels) for item in selector.get("matchExpressions") or ())


def short_hash(value: Any) -> str:
    """Ten safe characters that depend on the content only."""
    digest = hashlib.sha256(json.dumps(value, sort_keys=True).encode()).digest()
    return "".join(_NAME_ALPHABET[byte % len(_NAME_ALPHABET)] for byte in digest[:10])


def status_patch(resource: Resource, obj: Json, status: Json) -> list[Action]:
    """A patch of the status subresource when it would change something; None removes a field."""
    old = obj.get("status") or {}
    changed = {key: value for key, value in status.items() if old.get(key) != value}
    return [Patch(resource, obj, {"status": changed}, sub="status")] if changed else []


def condition(old: list[Json], kind: str, status: bool, reason: str, message: str, now: str, *, touch: bool = False) -> Json:
    """A workload condition; its times move only when it changes (`touch`: lastUpdateTime moves anyway)."""
    value = "True" if status else "False"
    before = next((item for item in old if item["type"] == kind), None)
    fresh = {"type": kind, "status": value, "reason": reason, "message": message}
    if before is None:
        return {**fresh, "lastUpdateTime": now, "lastTransitionTime": now}
    since = before["lastTransitionTime"] if before["status"] == value else now
    same = all(before.get(key) == fresh[key] for key in fresh) and not touch
    return {**fresh, "lastUpdateTime": before.get("lastUpdateTime", now) if same else now, "lastTransitionTime": since}


def pod_from_template(owner: Json, template: Json, labels: Json | None = None, *, name: str = "", prefix: str = "") -> Json:
    """A pod made from a workload's template, owned by it."""
    meta = template.get("metadata") or {}
    metadata: Json = {
        "namespace": owner["metadata"]["namespace"],
        "labels": {**(meta.get("labels") or {}), **(labels or {})},
        "ownerReferences": [owner_reference(owner)],
    }
    if meta.get("annotations"):
        metadata["annotations"] = dict(meta["annotations"])
    if meta.get("finalizers"):
        metadata["finalizers"] = list(meta["finalizers"])
    metadata |= {"name": name} if name else {"generateName": prefix}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": json.loads(json.dumps(template["spec"]))}
