"""Views: stored objects as the bytes a client asked for. Pure."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any

from mesh.sandbox.apiserver import tables
from mesh.sandbox.apiserver.convert import from_storage, storage_api_version
from mesh.sandbox.apiserver.registry import Resource
from mesh.sandbox.apiserver.storage import Stored, dump
from mesh.sandbox.apiserver.tables import Format, Shape

Obj = dict[str, Any]


class View:
    """How one request sees one resource: as objects, table rows or metadata."""

    def __init__(self, resource: Resource, form: Format, include: str, clock: Callable[[], datetime]) -> None:
        self._resource, self._form, self._include, self._clock = resource, form, include or "Metadata", clock
        self._as_stored = storage_api_version(resource) == resource.api_version
        self._columns_sent = False

    @property
    def content_type(self) -> str:
        """The media type of everything this view writes."""
        return self._form.content_type

    def one(self, stored: Stored) -> bytes:
        """One object."""
        match self._form.shape:
            case Shape.OBJECT:
                return stored.data if self._as_stored else dump(from_storage(stored.obj, self._resource))
            case Shape.TABLE:
                return self._table([stored], {"resourceVersion": str(stored.revision)}, True)
            case _:
                return dump(tables.partial(stored.obj))

    def event(self, stored: Stored) -> bytes:
        """One object of a watch: a table's columns come with its first row only."""
        if self._form.shape is Shape.TABLE:
            first, self._columns_sent = not self._columns_sent, True
            return self._table([stored], {"resourceVersion": str(stored.revision)}, first)
        return self.one(stored)

    def bookmark(self, revision: int, annotations: dict[str, str]) -> bytes:
        """The object of a BOOKMARK event."""
        meta: Obj = {"resourceVersion": str(revision), "creationTimestamp": None, **({"annotations": annotations} if annotations else {})}
        kind, api_version = self._resource.kind, self._resource.api_version
        if self._form.shape is Shape.TABLE:
            row = {"cells": [], "object": {"kind": "PartialObjectMetadata", "apiVersion": tables.META, "metadata": meta}}
            return dump({"kind": "Table", "apiVersion": tables.META, "metadata": {"resourceVersion": str(revision)}, "columnDefinitions": [], "rows": [row]})
        if self._form.shape is not Shape.OBJECT:
            kind, api_version = "PartialObjectMetadata", tables.META
        return dump({"kind": kind, "apiVersion": api_version, "metadata": meta})

    def many(self, found: list[Stored], meta: Obj) -> bytes:
        """A list."""
        match self._form.shape:
            case Shape.TABLE:
                return self._table(found, meta, True)
            case Shape.OBJECT:
                head: Obj = {"kind": f"{self._resource.kind}List", "apiVersion": self._resource.api_version, "metadata": meta}
                items = [self.one(stored) for stored in found]
            case _:
                head = {"kind": "PartialObjectMetadataList", "apiVersion": tables.META, "metadata": meta}
                items = [self.one(stored) for stored in found]
        # Joined by hand: parsing and dumping thousands of objects again would be most of a list's cost.
        return dump(head)[:-1] + b',"items":[' + b",".join(items) + b"]}"

    def _table(self, found: list[Stored], meta: Obj, with_columns: bool) -> bytes:
        rows = (from_storage(stored.obj, self._resource) for stored in found)
        return dump(tables.table(self._resource, rows, self._include, self._clock(), meta, with_columns))
