"""Server-side apply: lay a manager's full opinion over the live object. Pure.

Source: "Server-Side Apply". A field that another manager owns with another value is a conflict, unless forced. A field that this manager
applied last time, leaves out now, and that nobody else owns, is removed.
"""

from __future__ import annotations

import copy
from datetime import datetime
from typing import Any

from mesh.sandbox.apiserver import fields, status
from mesh.sandbox.apiserver.decode import full_schema
from mesh.sandbox.apiserver.managed import APPLY, Managers, read
from mesh.sandbox.apiserver.registry import Resource
from mesh.sandbox.apiserver.status import Cause

Obj = dict[str, Any]


def apply(live: Obj | None, config: Obj, resource: Resource, subresource: str, manager: str, force: bool, now: datetime) -> Obj:
    """The object to store, with managedFields. Raises: ApiError 409 with one cause per conflict."""
    node = full_schema(resource)
    config = copy.deepcopy(config)
    if resource.has_status and subresource != "status":
        config.pop("status", None)
    if subresource == "status":
        meta = {k: v for k, v in config["metadata"].items() if k in ("name", "namespace", "uid", "resourceVersion")}
        config = {"apiVersion": config["apiVersion"], "kind": config["kind"], "metadata": meta, **({"status": config["status"]} if "status" in config else {})}
    key = (manager, APPLY, resource.api_version, subresource)
    applied = fields.owned(config, node)
    if live is None:
        managers = Managers([])
        managers.set(key, applied, now)
        config["metadata"]["managedFields"] = managers.entries()
        return config
    managers = Managers(read(live))
    merged: Obj = fields.merge(live, config, node)
    changed, _ = fields.compare_objects(live, merged, node)
    _resolve_conflicts(managers, key, fields.intersection(changed, applied), force)
    kept = applied
    for other, owned in managers.sets.items():
        if other != key:
            kept = fields.union(kept, owned)
    merged = fields.remove(merged, fields.difference(managers.sets.get(key, {}), applied), kept, node)
    managers.set(key, applied, now)
    merged["metadata"]["managedFields"] = managers.entries()
    if "resourceVersion" in config["metadata"]:
        merged["metadata"]["resourceVersion"] = config["metadata"]["resourceVersion"]
    else:
        merged["metadata"].pop("resourceVersion", None)
    return merged


def _resolve_conflicts(managers: Managers, key: tuple[str, str, str, str], changed: fields.Trie, force: bool) -> None:
    causes, lines = [], []
    for other, owned in managers.sets.items():
        if other == key:
            continue
        contested = fields.intersection(owned, changed)
        if not contested:
            continue
        if force:
            managers.sets[other] = fields.difference(owned, contested)
            continue
        who = f'"{other[0]}"' + (f' with subresource "{other[3]}"' if other[3] else "") + (f" using {other[2]}" if other[1] != APPLY else "")
        found = fields.paths(contested)
        causes += [Cause("FieldManagerConflict", path, f"conflict with {who}") for path in found]
        lines += [f"conflict with {who}: {path}" for path in found] if len(found) == 1 else [f"conflicts with {who}:\n- " + "\n- ".join(found)]
    if causes:
        plural = "s" if len(causes) > 1 else ""
        message = f"Apply failed with {len(causes)} conflict{plural}: " + "\n".join(lines)
        raise status.apply_conflict(message, tuple(causes))
