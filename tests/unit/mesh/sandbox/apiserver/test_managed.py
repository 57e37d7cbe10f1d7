from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from mesh.sandbox.apiserver import fields, managed
from mesh.sandbox.apiserver.kinds import builtin
from mesh.sandbox.apiserver.status import ApiError

MAPS = next(r for r in builtin() if r.key == "configmaps")
NOW = datetime(2030, 1, 1, tzinfo=UTC)


def config(data: dict[str, str], entries: list[dict[str, Any]] | None = None) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c", **({"managedFields": entries} if entries else {})}, "data": data}


def owners(obj: dict[str, Any]) -> dict[str, list[str]]:
    return {e["manager"]: fields.paths(fields.decode(e["fieldsV1"])) for e in obj["metadata"]["managedFields"]}


def test_creator_owns_everything() -> None:
    obj = config({"a": "1"})
    managed.on_create(obj, MAPS, "ci", NOW)
    assert owners(obj) == {"ci": [".data.a"]}
    assert obj["metadata"]["managedFields"][0] | {"fieldsV1": 0} == {"manager": "ci", "operation": "Update", "apiVersion": "v1", "time": "2030-01-01T00:00:00Z", "fieldsType": "FieldsV1", "fieldsV1": 0}


def test_who_changes_a_field_owns_it() -> None:
    old = config({"a": "1", "b": "1"})
    managed.on_create(old, MAPS, "ci", NOW)
    new = config({"a": "2", "c": "1"}, old["metadata"]["managedFields"])
    managed.on_update(new, old, MAPS, "", "me", NOW)
    assert owners(new) == {"me": [".data.a", ".data.c"]} or owners(new) == {"ci": [], "me": [".data.a", ".data.c"]}


def test_update_without_a_change_keeps_the_time() -> None:
    old = config({"a": "1"})
    managed.on_create(old, MAPS, "ci", NOW)
    new = config({"a": "1"})
    managed.on_update(new, old, MAPS, "", "ci", NOW + timedelta(hours=1))
    assert new["metadata"]["managedFields"] == old["metadata"]["managedFields"] and managed.same(new, old)


def test_reset_and_rubbish() -> None:
    old = config({"a": "1"})
    managed.on_create(old, MAPS, "ci", NOW)
    new = config({"a": "1"}, [{}])
    managed.on_update(new, old, MAPS, "", "ci", NOW)
    assert "managedFields" not in new["metadata"]
    with pytest.raises(ApiError) as refused:
        managed.read(config({}, [{"fieldsType": "FieldsV0"}]))
    assert refused.value.code == 422


def test_many_updaters_become_ancient() -> None:
    obj = config({"k0": "0"})
    managed.on_create(obj, MAPS, "m0", NOW)
    for number in range(1, 15):
        new = config({**obj["data"], f"k{number}": "x"})
        managed.on_update(new, obj, MAPS, "", f"m{number}", NOW + timedelta(seconds=number))
        obj = new
    found = owners(obj)
    assert len(found) == managed.MAX_UPDATERS and len(found[managed.ANCIENT]) == 6
