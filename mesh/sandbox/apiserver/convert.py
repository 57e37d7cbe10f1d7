"""Conversion between the served versions of a kind and the one that is stored. Pure.

Custom kinds convert by `None`: only apiVersion changes. Of the built-in ones only Event has two shapes (v1, events.k8s.io/v1).
"""

from __future__ import annotations

from typing import Any

from mesh.sandbox.apiserver.registry import Resource

Obj = dict[str, Any]

# v1 field → events.k8s.io/v1 field, where only the name differs.
EVENT_FIELDS = {
    "involvedObject": "regarding", "message": "note", "count": "deprecatedCount", "firstTimestamp": "deprecatedFirstTimestamp",
    "lastTimestamp": "deprecatedLastTimestamp", "source": "deprecatedSource", "reportingComponent": "reportingController",
}  # fmt: skip


def storage_api_version(resource: Resource) -> str:
    """The apiVersion in which objects of `resource` are kept."""
    if not resource.storage_version:
        return resource.api_version
    if resource.key == "events":
        return "v1"
    return f"{resource.group}/{resource.storage_version}"


def to_storage(obj: Obj, resource: Resource) -> Obj:
    """The object as it is stored. A shallow copy at most."""
    wanted = storage_api_version(resource)
    if obj["apiVersion"] == wanted:
        return obj
    return {**(_rename(obj, {v: k for k, v in EVENT_FIELDS.items()}) if resource.key == "events" else obj), "apiVersion": wanted}


def from_storage(obj: Obj, resource: Resource) -> Obj:
    """The stored object as the version of `resource` shows it. A shallow copy at most."""
    if obj["apiVersion"] == resource.api_version:
        return obj
    return {**(_rename(obj, EVENT_FIELDS) if resource.key == "events" else obj), "apiVersion": resource.api_version}


def between(obj: Obj, source: Resource, target: Resource) -> Obj:
    """An object of one version of a kind as another version shows it. A shallow copy at most."""
    return obj if source == target else {**from_storage(to_storage(obj, source), target), "kind": target.kind}


def _rename(obj: Obj, names: dict[str, str]) -> Obj:
    return {names.get(key, key): value for key, value in obj.items()}
