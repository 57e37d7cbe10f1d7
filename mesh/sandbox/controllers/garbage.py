"""What the garbage collector decides about one object. Pure; `collector` is its shell.

    every owner gone                              → delete, in the background
    some gone, some alive                         → forget those that are gone
    an owner is being deleted in the foreground   → delete, and let the owner wait
    being deleted with finalizer `orphan`         → dependents forget it, then the finalizer goes
    being deleted with `foregroundDeletion`       → dependents are deleted; when none is left, the finalizer goes
Source: Kubernetes "Garbage Collection", "Owners and Dependents".
"""

from collections.abc import Mapping, Sequence
from enum import Enum
from typing import Any

from mesh.sandbox.controllers.plan import Delete, Patch, Plan
from mesh.sandbox.kubeclient import Resource

Json = dict[str, Any]
FOREGROUND, ORPHAN = "foregroundDeletion", "orphan"
Placed = tuple[Resource, Json]


class Owner(Enum):
    """What has become of an owner."""

    ALIVE = "alive"
    GONE = "gone"
    WAITING = "waiting"  # being deleted in the foreground: it waits for its dependents


def state_of(owner: Json | None, uid: str) -> Owner:
    """The state of the owner that a reference with `uid` names; `owner` is what the API has under that name."""
    if owner is None or owner["metadata"]["uid"] != uid:
        return Owner.GONE
    ending = "deletionTimestamp" in owner["metadata"] and FOREGROUND in (owner["metadata"].get("finalizers") or ())
    return Owner.WAITING if ending else Owner.ALIVE


def as_dependent(resource: Resource, obj: Json, owners: Mapping[str, Owner]) -> Plan:
    """What becomes of an object, given the states of its owners by uid."""
    result = Plan()
    references = obj["metadata"].get("ownerReferences") or []
    if not references or "deletionTimestamp" in obj["metadata"]:
        return result
    kept = [ref for ref in references if owners[ref["uid"]] is not Owner.GONE]
    blocked = [ref for ref in kept if owners[ref["uid"]] is Owner.WAITING and ref.get("blockOwnerDeletion")]
    solid = [ref for ref in kept if owners[ref["uid"]] is Owner.ALIVE]
    if not kept:
        result.actions.append(Delete(resource, obj, propagation="Background"))
    elif not solid and blocked:
        result.actions.append(Delete(resource, obj, propagation="Foreground"))
    elif len(kept) < len(references):
        result.actions.append(Patch(resource, obj, {"metadata": {"uid": obj["metadata"]["uid"], "ownerReferences": kept}}))
    return result


def as_owner(resource: Resource, obj: Json, dependents: Sequence[Placed]) -> Plan:
    """What an object that is being deleted does with its dependents."""
    result = Plan()
    meta = obj["metadata"]
    finalizers = meta.get("finalizers") or []
    if "deletionTimestamp" not in meta:
        return result
    if ORPHAN in finalizers:
        for kind, item in dependents:
            kept = [ref for ref in item["metadata"]["ownerReferences"] if ref["uid"] != meta["uid"]]
            result.actions.append(Patch(kind, item, {"metadata": {"uid": item["metadata"]["uid"], "ownerReferences": kept or None}}))
        result.actions.append(_without(resource, obj, ORPHAN))
    elif FOREGROUND in finalizers:
        waiting = [(kind, item) for kind, item in dependents if _blocks(item, meta["uid"])]
        for kind, item in waiting:
            if "deletionTimestamp" not in item["metadata"]:
                result.actions.append(Delete(kind, item, propagation="Foreground"))
        if not waiting:
            result.actions.append(_without(resource, obj, FOREGROUND))
    return result


def _blocks(item: Json, uid: str) -> bool:
    return any(ref["uid"] == uid and ref.get("blockOwnerDeletion") for ref in item["metadata"].get("ownerReferences") or ())


def _without(resource: Resource, obj: Json, finalizer: str) -> Patch:
    rest = [item for item in obj["metadata"]["finalizers"] if item != finalizer]
    return Patch(resource, obj, {"metadata": {"uid": obj["metadata"]["uid"], "finalizers": rest or None}})
