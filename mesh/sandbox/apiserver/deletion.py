"""Deletion: what a DELETE does to an object. Pure.

States: live → *ending* (deletionTimestamp set; finalizers or, for pods, the kubelet hold it) → gone. A pod's grace period may only be
shortened while it ends; grace 0 removes it, unless finalizers hold it. Foreground and orphan deletion are finalizers that the
garbage collector takes away.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from mesh.sandbox.apiserver import decode, status
from mesh.sandbox.apiserver.cluster import Call
from mesh.sandbox.apiserver.objects import timestamp
from mesh.sandbox.apiserver.registry import Resource
from mesh.sandbox.apiserver.schema.definitions import definitions
from mesh.sandbox.apiserver.schema.structural import type_error

Obj = dict[str, Any]

FOREGROUND, ORPHAN = "foregroundDeletion", "orphan"
PROPAGATION = {"Foreground": FOREGROUND, "Orphan": ORPHAN, "Background": ""}
IMMORTAL = ("default", "kube-system", "kube-public")


@dataclass(frozen=True, slots=True)
class Options:
    """`DeleteOptions`, from the body or the query."""

    grace_seconds: int | None = None
    propagation: str = ""
    uid: str = ""
    revision: str = ""


@dataclass(frozen=True, slots=True)
class Verdict:
    """`obj`: the state to store, or the last one shown if `gone`; None: nothing to write."""

    obj: Obj | None
    gone: bool


def read_options(call: Call) -> Options:
    """Raises: ApiError 400, 415, 422."""
    found: Obj = {}
    if call.request.body:
        body = decode.decode(call.request.body, call.request.headers.get("content-type", ""), "v1.DeleteOptions").value
        if isinstance(body, dict):
            found = body
        wrong = type_error(found, definitions()["v1.DeleteOptions"], "")
        if wrong:
            raise status.bad_request(f"DeleteOptions: {wrong}")
    for name in ("gracePeriodSeconds", "propagationPolicy", "orphanDependents"):
        if name in call.request.query:
            found[name] = call.request.arg(name)
    if found.get("dryRun"):
        call.request.query["dryRun"] = list(found["dryRun"])
    propagation = found.get("propagationPolicy") or ""
    orphan = found.get("orphanDependents")
    if orphan is not None:
        if propagation:
            raise _invalid("propagationPolicy", "orphanDependents and deletionPropagation cannot be both set")
        propagation = "Orphan" if orphan in (True, "true", "1") else "Background"
    if propagation and propagation not in PROPAGATION:
        raise _invalid("propagationPolicy", f'Unsupported value: "{propagation}": supported values: "Foreground", "Background", "Orphan"')
    grace = found.get("gracePeriodSeconds")
    try:
        grace = None if grace is None else int(grace)
    except ValueError as exc:
        raise status.bad_request(f"gracePeriodSeconds: {grace!r} is not a number") from exc
    preconditions = found.get("preconditions") or {}
    return Options(grace, propagation, preconditions.get("uid") or "", preconditions.get("resourceVersion") or "")


def _invalid(field: str, message: str) -> status.ApiError:
    return status.invalid("meta.k8s.io", "DeleteOptions", "", [status.Cause("FieldValueInvalid", field, message)])


def check_preconditions(obj: Obj, options: Options, resource: Resource) -> None:
    """Raises: ApiError 409."""
    meta = obj["metadata"]
    for what, asked, actual in (("UID", options.uid, meta["uid"]), ("ResourceVersion", options.revision, meta["resourceVersion"])):
        if asked and asked != actual:
            message = f"Precondition failed: {what} in precondition: {asked}, {what} in object meta: {actual}"
            raise status.conflict(resource.group, resource.plural, meta["name"], message)


def decide(old: Obj, resource: Resource, options: Options, now: datetime) -> Verdict:
    """What to store for a DELETE of `old`. Raises: ApiError 403: a namespace that must stay."""
    if resource.key == "namespaces" and old["metadata"]["name"] in IMMORTAL:
        raise status.forbidden(f'namespaces "{old["metadata"]["name"]}" is forbidden: this namespace may not be deleted', "", "namespaces", old["metadata"]["name"])
    obj = copy.deepcopy(old)
    meta = obj["metadata"]
    ending = "deletionTimestamp" in meta
    grace = _grace(obj, resource, options)
    finalizers = _finalizers(meta, options.propagation)
    if finalizers:
        meta["finalizers"] = finalizers
    else:
        meta.pop("finalizers", None)
    held = bool(finalizers) or (resource.key == "namespaces" and bool(obj.get("spec", {}).get("finalizers")))
    if not held and grace == 0:
        if resource.key == "pods":
            meta.setdefault("deletionTimestamp", timestamp(now))
            meta["deletionGracePeriodSeconds"] = 0
        return Verdict(obj, True)
    if ending and grace >= meta.get("deletionGracePeriodSeconds", 0) and finalizers == (old["metadata"].get("finalizers") or []):
        return Verdict(None, False)
    if not ending or grace < meta.get("deletionGracePeriodSeconds", 0):
        began = now if not ending else datetime.fromisoformat(meta["deletionTimestamp"]) - timedelta(seconds=meta.get("deletionGracePeriodSeconds", 0))
        meta["deletionTimestamp"] = timestamp(began + timedelta(seconds=grace))
        meta["deletionGracePeriodSeconds"] = grace
        if "generation" in meta:
            meta["generation"] += 1
    if resource.key == "namespaces":
        obj.setdefault("status", {})["phase"] = "Terminating"
    return Verdict(obj, False)


def _grace(obj: Obj, resource: Resource, options: Options) -> int:
    if resource.key != "pods":
        return 0
    phase, spec = obj.get("status", {}).get("phase"), obj["spec"]
    # No kubelet has it, or nothing runs any more: there is nobody to wait for.
    if not spec.get("nodeName") or phase in ("Succeeded", "Failed"):
        return 0
    asked = options.grace_seconds if options.grace_seconds is not None else spec.get("terminationGracePeriodSeconds", 30)
    return max(int(asked), 1) if asked < 0 else int(asked)


def _finalizers(meta: Obj, propagation: str) -> list[str]:
    found = list(meta.get("finalizers") or ())
    if propagation:
        wanted = PROPAGATION[propagation]
        found = [f for f in found if f not in (FOREGROUND, ORPHAN) or f == wanted]
        if wanted and wanted not in found:
            found.append(wanted)
    return found


def is_finished(obj: Obj, resource: Resource) -> bool:
    """Whether an update took away the last thing that held an ending object."""
    meta = obj["metadata"]
    if "deletionTimestamp" not in meta or meta.get("finalizers"):
        return False
    if resource.key == "namespaces" and obj.get("spec", {}).get("finalizers"):
        return False
    return resource.key != "pods" or not meta.get("deletionGracePeriodSeconds")
