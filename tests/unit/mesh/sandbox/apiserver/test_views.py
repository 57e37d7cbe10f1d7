from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

from mesh.sandbox.apiserver.kinds import builtin
from mesh.sandbox.apiserver.registry import Resource
from mesh.sandbox.apiserver.storage import Stored, dump
from mesh.sandbox.apiserver.tables import Format, Shape
from mesh.sandbox.apiserver.views import View

MAPS = next(r for r in builtin() if r.key == "configmaps")


def stored(name: str) -> Stored:
    obj = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}}
    return Stored(3, dump(obj), obj)


def view(shape: Shape, resource: Resource = MAPS) -> View:
    return View(resource, Format(shape), "", lambda: datetime(2030, 1, 1, tzinfo=UTC))


def many(shape: Shape) -> Any:
    return json.loads(view(shape).many([stored("a"), stored("b")], {"resourceVersion": "9"}))


def test_lists_in_every_shape() -> None:
    assert many(Shape.OBJECT) == {"kind": "ConfigMapList", "apiVersion": "v1", "metadata": {"resourceVersion": "9"}, "items": [stored("a").obj, stored("b").obj]}
    assert many(Shape.METADATA_LIST)["items"][0]["kind"] == "PartialObjectMetadata"
    assert [row["cells"][0] for row in many(Shape.TABLE)["rows"]] == ["a", "b"]
    assert json.loads(view(Shape.OBJECT).many([], {})) == {"kind": "ConfigMapList", "apiVersion": "v1", "metadata": {}, "items": []}


def test_other_version_is_converted() -> None:
    beta = Resource("e.com", "v1beta1", "gs", "G", True, storage_key="gs.e.com", storage_version="v1", custom=True)
    kept = Stored(1, b"", {"apiVersion": "e.com/v1", "metadata": {"name": "g"}})
    assert json.loads(view(Shape.OBJECT, beta).one(kept))["apiVersion"] == "e.com/v1beta1"


def test_table_events_carry_columns_once() -> None:
    made = view(Shape.TABLE)
    assert [bool(json.loads(made.event(stored("a")))["columnDefinitions"]) for _ in range(2)] == [True, False]


def test_bookmarks() -> None:
    assert json.loads(view(Shape.OBJECT).bookmark(7, {}))["metadata"]["resourceVersion"] == "7"
    assert json.loads(view(Shape.TABLE).bookmark(7, {"a": "b"}))["rows"][0]["object"]["metadata"]["annotations"] == {"a": "b"}
    assert json.loads(view(Shape.METADATA).bookmark(7, {}))["kind"] == "PartialObjectMetadata"
