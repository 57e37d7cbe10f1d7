from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from mesh.sandbox.apiserver.kinds import builtin
from mesh.sandbox.apiserver.registry import Column, Resource
from mesh.sandbox.apiserver.status import ApiError
from mesh.sandbox.apiserver.tables import Shape, custom_cell, negotiate, table

NOW = datetime(2030, 1, 1, 0, 5, tzinfo=UTC)
KUBECTL = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json;as=Table;v=v1beta1;g=meta.k8s.io,application/json"


@pytest.mark.parametrize(
    ("accept", "shape"),
    [(KUBECTL, Shape.TABLE), ("application/json", Shape.OBJECT), ("", Shape.OBJECT), ("*/*", Shape.OBJECT), ("application/vnd.kubernetes.protobuf,application/json", Shape.OBJECT),
     ("application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1,application/json", Shape.METADATA_LIST), ("application/json;as=Table;v=v9;g=meta.k8s.io,application/json", Shape.OBJECT)],
)  # fmt: skip
def test_negotiate(accept: str, shape: Shape) -> None:
    assert negotiate(accept).shape is shape


def test_protobuf_only_is_not_acceptable() -> None:
    with pytest.raises(ApiError) as refused:
        negotiate("application/vnd.kubernetes.protobuf")
    assert refused.value.code == 406


def test_rows_carry_metadata_unless_told_otherwise() -> None:
    maps = next(r for r in builtin() if r.key == "configmaps")
    obj: dict[str, Any] = {"metadata": {"name": "c", "creationTimestamp": "2030-01-01T00:00:00Z"}, "data": {"a": "b"}}
    made = table(maps, [obj], "Metadata", NOW, {})
    assert made["rows"] == [{"cells": ["c", 1, "5m"], "object": {"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": obj["metadata"]}}]
    assert table(maps, [obj], "None", NOW, {})["rows"] == [{"cells": ["c", 1, "5m"]}]
    assert table(maps, [obj], "Object", NOW, {}, with_columns=False)["rows"][0]["object"] is obj


def test_custom_columns() -> None:
    obj = {"metadata": {"name": "g"}, "spec": {"n": 2.0, "when": "2030-01-01T00:00:00Z", "list": ["a", "b"], "flag": False}}
    cells = [("integer", ".spec.n"), ("date", ".spec.when"), ("string", ".spec.list"), ("string", ".spec.list[*]"), ("boolean", ".spec.flag"), ("string", ".spec.no"), ("integer", ".spec.no")]
    assert [custom_cell(Column("x", kind, path=path), obj, NOW) for kind, path in cells] == [2, "5m", '["a","b"]', "a,b", False, None, None]
    plain = Resource("e.com", "v1", "gs", "G", True, custom=True)
    assert [c["name"] for c in table(plain, [], "Metadata", NOW, {})["columnDefinitions"]] == ["Name", "Age"]
