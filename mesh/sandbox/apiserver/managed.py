"""managedFields: who owns which field after a write. Pure; changes `metadata.managedFields` of the new object in place."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any

from mesh.sandbox.apiserver import fields, status
from mesh.sandbox.apiserver.fields import Trie
from mesh.sandbox.apiserver.objects import timestamp
from mesh.sandbox.apiserver.registry import Resource

Obj = dict[str, Any]
Track = Callable[[Obj, Obj, Resource, str, str, datetime], None]

APPLY, UPDATE = "Apply", "Update"
MAX_UPDATERS = 10  # beyond it the oldest are merged into one entry, as real servers do
ANCIENT = "ancient-changes"


class Managers:
    """The owners of one object's fields."""

    def __init__(self, entries: list[Obj]) -> None:
        self.sets: dict[tuple[str, str, str, str], Trie] = {}
        self.times: dict[tuple[str, str, str, str], str] = {}
        for entry in entries:
            key = (entry.get("manager", ""), entry.get("operation", ""), entry.get("apiVersion", ""), entry.get("subresource", ""))
            self.sets[key] = fields.union(self.sets.get(key, {}), fields.decode(entry.get("fieldsV1") or {}))
            self.times[key] = entry.get("time", "")

    def set(self, key: tuple[str, str, str, str], owned: Trie, now: datetime) -> None:
        """Give `key` exactly `owned`; its time moves only when that is news."""
        if self.sets.get(key) != owned:
            self.times[key] = timestamp(now)
        self.sets[key] = owned

    def take(self, key: tuple[str, str, str, str], lost: Trie) -> None:
        """Take `lost` away from everybody but `key`."""
        for other in self.sets:
            if other != key:
                self.sets[other] = fields.difference(self.sets[other], lost)

    def entries(self) -> list[Obj]:
        """`metadata.managedFields`: Apply entries first, then by time."""
        self._forget_ancient()
        made = []
        for key in sorted(self.sets, key=lambda k: (k[1] != APPLY, self.times.get(k, ""), k)):
            if self.sets[key]:
                manager, operation, api_version, subresource = key
                entry = {"manager": manager, "operation": operation, "apiVersion": api_version, "time": self.times.get(key, ""),
                         "fieldsType": "FieldsV1", "fieldsV1": fields.encode(self.sets[key])}  # fmt: skip
                made.append({**entry, "subresource": subresource} if subresource else entry)
        return made

    def _forget_ancient(self) -> None:
        updaters = sorted((k for k, owned in self.sets.items() if owned and k[1] == UPDATE and not k[3]), key=lambda k: self.times.get(k, ""))
        if len(updaters) <= MAX_UPDATERS:
            return
        merged: Trie = {}
        old = updaters[: len(updaters) - MAX_UPDATERS + 1]
        for key in old:
            merged = fields.union(merged, self.sets.pop(key))
        ancient = (ANCIENT, UPDATE, old[0][2], "")
        self.sets[ancient] = merged
        self.times[ancient] = self.times.get(old[-1], "")


def read(obj: Obj) -> list[Obj]:
    """The entries of an object. Raises: ApiError 422: not FieldsV1."""
    entries = obj["metadata"].get("managedFields") or []
    for index, entry in enumerate(entries):
        if entry and (entry.get("fieldsType", "FieldsV1") != "FieldsV1" or not isinstance(entry.get("fieldsV1", {}), dict)):
            cause = status.Cause("FieldValueInvalid", f"metadata.managedFields.[{index}].fieldsType", f'Invalid value: "{entry.get("fieldsType")}": must be `FieldsV1`')
            raise status.invalid("", obj.get("kind", ""), obj["metadata"].get("name", ""), [cause])
    return entries


def on_create(obj: Obj, resource: Resource, manager: str, now: datetime) -> None:
    """Everything belongs to the creator. An entry that is there already (server-side apply) stays."""
    if obj["metadata"].get("managedFields"):
        return
    managers = Managers([])
    owned = fields.owned(obj, _node(resource))
    if resource.has_status:
        owned.pop("f:status", None)  # this door does not lead to it: what stands there is the server's
    managers.set((manager, UPDATE, resource.api_version, ""), owned, now)
    _write(obj, managers)


def on_update(new: Obj, old: Obj, resource: Resource, subresource: str, manager: str, now: datetime) -> None:
    """What changed belongs to `manager`, and to nobody else."""
    given = new["metadata"].get("managedFields")
    if given == [{}]:  # documented way to reset
        new["metadata"].pop("managedFields")
        return
    managers = Managers(read(new) if given else read(old))
    changed, removed = fields.compare_objects(old, new, _node(resource))
    key = (manager, UPDATE, resource.api_version, subresource)
    if changed or removed:
        managers.take(key, fields.union(changed, removed))
        managers.set(key, fields.difference(fields.union(managers.sets.get(key, {}), changed), removed), now)
    _write(new, managers)


def _write(obj: Obj, managers: Managers) -> None:
    entries = managers.entries()
    if entries:
        obj["metadata"]["managedFields"] = entries
    else:
        obj["metadata"].pop("managedFields", None)


def on_apply(new: Obj, old: Obj, resource: Resource, subresource: str, manager: str, now: datetime) -> None:
    """Server-side apply has written managedFields while it decided."""


def same(new: Obj, old: Obj) -> bool:
    """Whether ownership is the same, times aside."""
    return _owners(new) == _owners(old)


def _owners(obj: Obj) -> list[Obj]:
    return [{k: v for k, v in entry.items() if k != "time"} for entry in obj["metadata"].get("managedFields") or []]


def _node(resource: Resource) -> Obj:
    from mesh.sandbox.apiserver.decode import full_schema

    return full_schema(resource)
