"""Tables and metadata-only views: the other shapes in which a client may ask for objects (`Accept: …;as=Table`). Pure."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from enum import Enum
from typing import Any

from mesh.sandbox.apiserver import status
from mesh.sandbox.apiserver.columns import PLAIN, PRINTERS
from mesh.sandbox.apiserver.humanize import age
from mesh.sandbox.apiserver.jsonpath import find
from mesh.sandbox.apiserver.registry import Column, Resource

Obj = dict[str, Any]
META = "meta.k8s.io/v1"


class Shape(Enum):
    """How objects are written: themselves, or their table row, or their metadata (one, or of a list)."""

    OBJECT = ""
    TABLE = "Table"
    METADATA = "PartialObjectMetadata"
    METADATA_LIST = "PartialObjectMetadataList"


@dataclass(frozen=True, slots=True)
class Format:
    """A negotiated answer: shape, apiVersion of the shape, and the media type to name."""

    shape: Shape
    content_type: str = "application/json"


def negotiate(accept: str) -> Format:
    """The first media type of `Accept` that we write. Raises: ApiError 406: none (protobuf, for one)."""
    for part in accept.split(",") if accept.strip() else ["*/*"]:
        kind, *parameters = (p.strip() for p in part.split(";"))
        named = dict(p.split("=", 1) for p in parameters if "=" in p)
        if kind not in ("application/json", "application/*", "*/*"):
            continue
        if "as" not in named:
            return Format(Shape.OBJECT)
        if named.get("g") == "meta.k8s.io" and named.get("v") == "v1" and named["as"] in ("Table", "PartialObjectMetadata", "PartialObjectMetadataList"):
            return Format(Shape(named["as"]), f"application/json;as={named['as']};g=meta.k8s.io;v=v1")
    raise status.not_acceptable("application/json")


def table(resource: Resource, rows: Iterable[Obj], include: str, now: datetime, list_meta: Obj, with_columns: bool = True) -> Obj:
    """A `Table`. `include`: None, Metadata (default) or Object."""
    columns, cells = _printer(resource)
    made = [{"cells": cells(obj, now), **_row_object(obj, include)} for obj in rows]
    definitions = [_definition(column) for column in columns] if with_columns else []
    return {"kind": "Table", "apiVersion": META, "metadata": list_meta, "columnDefinitions": definitions, "rows": made}


def partial(obj: Obj) -> Obj:
    """A `PartialObjectMetadata`."""
    return {"kind": "PartialObjectMetadata", "apiVersion": META, "metadata": obj["metadata"]}


def _row_object(obj: Obj, include: str) -> Obj:
    if include == "None":
        return {}
    return {"object": obj if include == "Object" else partial(obj)}


def _definition(column: Column) -> Obj:
    return {"name": column.name, "type": column.type, "format": column.format, "description": column.description, "priority": column.priority}


def _printer(resource: Resource) -> tuple[tuple[Column, ...], Any]:
    if not resource.custom:
        return PRINTERS.get(resource.key, PLAIN)
    columns = resource.columns or (Column("Age", "date", path=".metadata.creationTimestamp"),)
    named = (Column("Name", "string", "name"), *columns)
    return named, lambda obj, now: [obj["metadata"]["name"], *(custom_cell(column, obj, now) for column in columns)]


def custom_cell(column: Column, obj: Obj, now: datetime) -> Any:
    """The cell of an additionalPrinterColumn: the first match of its JSONPath, in the column's type."""
    found = find(column.path, obj)
    value = found[0] if found else None
    if value is None:
        return "" if column.type == "date" and not found else None
    if column.type == "date":
        return age(str(value), now)
    if column.type == "string":
        if len(found) > 1:
            return ",".join(_text(v) for v in found)
        return _text(value)
    if column.type == "integer" and isinstance(value, float):
        return int(value)
    return value


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, separators=(",", ":"))
