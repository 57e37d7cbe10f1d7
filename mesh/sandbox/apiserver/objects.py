"""Object life: what the server itself writes into metadata, and what an update may not touch. Pure (time, uid and name come in)."""

from __future__ import annotations

import copy
import random
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from mesh.sandbox.apiserver import status
from mesh.sandbox.apiserver.registry import Resource
from mesh.sandbox.apiserver.status import Cause

Obj = dict[str, Any]

NAME_CHARS = "bcdfghjklmnpqrstvwxz2456789"  # no vowels and nothing easily mistaken, as in generated names of real servers
MAX_GENERATED_PREFIX = 58
KEPT = ("uid", "creationTimestamp", "deletionTimestamp", "deletionGracePeriodSeconds", "generation", "generateName", "selfLink")
# Kinds whose generation counts changes of spec (or of the whole object but metadata and status).
COUNTED_GROUPS = ("apps", "batch", "networking.k8s.io", "policy", "apiextensions.k8s.io", "admissionregistration.k8s.io", "discovery.k8s.io")
DAEMON_SETS, TEMPLATE_GENERATION = "daemonsets.apps", "deprecated.daemonset.template.generation"
# A status write may also change labels and annotations of these.
STATUS_WRITES_LABELS = ("pods", "nodes")


@dataclass(frozen=True, slots=True)
class Stamp:
    """What a write takes from outside: the time (seconds), a uid, and a random source for names."""

    now: datetime
    uid: str
    rng: random.Random


def timestamp(now: datetime) -> str:
    """RFC 3339 in UTC, whole seconds, as `metav1.Time` prints it."""
    return now.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def begin_create(obj: Obj, resource: Resource, namespace: str, stamp: Stamp) -> None:
    """Fill metadata of a new object. Raises: ApiError 400/422: namespace mismatch, no name."""
    meta = obj["metadata"]
    if resource.namespaced:
        if meta.get("namespace", namespace) != namespace:
            raise status.bad_request(f"the namespace of the provided object does not match the namespace sent on the request: {meta['namespace']!r}, {namespace!r}")
        meta["namespace"] = namespace
    else:
        meta.pop("namespace", None)
    if not meta.get("name"):
        prefix = meta.get("generateName", "")
        if not prefix:
            raise status.invalid(resource.group, resource.kind, "", [Cause("FieldValueRequired", "metadata.name", "Required value: name or generateName is required")])
        meta["name"] = prefix[:MAX_GENERATED_PREFIX] + "".join(stamp.rng.choices(NAME_CHARS, k=5))
    for name in ("resourceVersion", "deletionTimestamp", "deletionGracePeriodSeconds", "selfLink", "generation"):
        meta.pop(name, None)
    meta["uid"] = stamp.uid
    meta["creationTimestamp"] = timestamp(stamp.now)
    if counts_generation(resource):
        meta["generation"] = 1
    if resource.key == DAEMON_SETS:
        _count_templates(obj, None)
    if resource.has_status and resource.key not in ("nodes", "pods", "namespaces"):
        # Real servers reset the status of a new object; nodes register with theirs.
        obj.pop("status", None)


def begin_update(new: Obj, old: Obj, resource: Resource, subresource: str) -> Obj:
    """The object an update asks for, with everything that this endpoint does not own taken from `old`.

    Raises: ApiError 400/409/422: name, namespace or uid differ.
    """
    meta, before = new["metadata"], old["metadata"]
    name = before["name"]
    if meta.setdefault("name", name) != name:
        raise status.bad_request(f"the name of the object ({meta['name']}) does not match the name on the URL ({name})")
    if meta.get("namespace", before.get("namespace", "")) != before.get("namespace", ""):
        raise status.bad_request(f"the namespace of the object ({meta['namespace']}) does not match the namespace on the URL ({before.get('namespace')})")
    if meta.get("uid") and meta["uid"] != before["uid"]:
        message = f"Precondition failed: UID in precondition: {meta['uid']}, UID in object meta: {before['uid']}"
        raise status.conflict(resource.group, resource.plural, name, message)
    if subresource in ("status", "ephemeralcontainers"):
        kept = copy.deepcopy(old)
        if subresource == "status":
            _copy_field(new, kept, "status")
        else:
            _copy_field(new["spec"], kept["spec"], "ephemeralContainers")
        for part in ("labels", "annotations") if resource.key in STATUS_WRITES_LABELS else ():
            _copy_field(meta, kept["metadata"], part)
        _copy_field(meta, kept["metadata"], "managedFields")
        _copy_field(meta, kept["metadata"], "resourceVersion")
        return kept
    if resource.has_status:
        _copy_field(old, new, "status")
    if "namespace" in before:
        meta["namespace"] = before["namespace"]
    for part in KEPT:
        _copy_field(before, meta, part)
    return new


def finish_update(new: Obj, old: Obj, resource: Resource) -> None:
    """Count the generation if what it counts has changed."""
    if resource.key == DAEMON_SETS:
        _count_templates(new, old)
    if counts_generation(resource) and _counted(new, resource) != _counted(old, resource):
        new["metadata"]["generation"] = old["metadata"].get("generation", 0) + 1


def counts_generation(resource: Resource) -> bool:
    """Whether objects of this kind carry metadata.generation."""
    return resource.custom or resource.group in COUNTED_GROUPS or resource.key == "pods"


def _counted(obj: Obj, resource: Resource) -> Obj:
    ignored = ("metadata", "status") if resource.has_status else ("metadata",)
    found = {k: v for k, v in obj.items() if k not in ignored}
    if resource.key == "pods":  # being bound to a node is no change of what the pod is to be
        found["spec"] = {k: v for k, v in obj["spec"].items() if k != "nodeName"}
    return found


def _count_templates(new: Obj, old: Obj | None) -> None:
    """The counter that DaemonSets had before generations; still there, and the server's alone."""
    before = int(((old or {}).get("metadata", {}).get("annotations") or {}).get(TEMPLATE_GENERATION, 0))
    changed = old is None or new["spec"].get("template") != old["spec"].get("template")
    new["metadata"].setdefault("annotations", {})[TEMPLATE_GENERATION] = str(before + changed)


def same(new: Obj, old: Obj) -> bool:
    """Whether a write would change nothing (managedFields and their times aside)."""
    return _visible(new) == _visible(old)


def _visible(obj: Obj) -> Obj:
    meta = {k: v for k, v in obj["metadata"].items() if k not in ("managedFields", "resourceVersion")}
    return {**obj, "metadata": meta}


def _copy_field(source: Obj, target: Obj, name: str) -> None:
    if name in source:
        target[name] = source[name]
    else:
        target.pop(name, None)


def check_update_revision(new: Obj, old: Obj, resource: Resource) -> None:
    """Optimistic concurrency. Raises: ApiError 409: the client's resourceVersion is not the current one."""
    asked = new["metadata"].get("resourceVersion")
    if asked and asked != old["metadata"]["resourceVersion"]:
        raise status.conflict(resource.group, resource.plural, old["metadata"]["name"], status.STALE)

