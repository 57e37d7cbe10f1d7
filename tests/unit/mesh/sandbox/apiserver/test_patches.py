from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.support.apiserver_local import APPLY, JSON_PATCH, MERGE, STRATEGIC, local

CM = "/api/v1/namespaces/default/configmaps"


@pytest.mark.parametrize(
    ("kind", "body", "data"),
    [
        (MERGE, {"data": {"a": "2", "b": None}}, {"a": "2"}), (STRATEGIC, {"data": {"c": "3"}}, {"a": "1", "b": "1", "c": "3"}),
        (JSON_PATCH, [{"op": "remove", "path": "/data/a"}], {"b": "1"}),
    ],
)  # fmt: skip
async def test_kinds_of_patches(tmp_path: Path, kind: str, body: Any, data: dict[str, str]) -> None:
    async with local(tmp_path) as api:
        await api.create(CM, "c", data={"a": "1", "b": "1"})
        code, after = await api.call("PATCH", f"{CM}/c", body, kind)
        assert (code, after["data"]) == (200, data)


@pytest.mark.parametrize(
    ("kind", "body", "code"),
    [
        ("text/plain", {}, 415), (MERGE, [], 400), (JSON_PATCH, [{"op": "test", "path": "/x", "value": 1}], 422), (MERGE, {"kind": "Secret"}, 400), (MERGE, {"metadata": {"name": "d"}}, 400),
        (MERGE, {"metadata": {"resourceVersion": "1"}}, 409), (MERGE, {"data": {"a": 1}}, 400), (APPLY, {}, 422),
    ],
)  # fmt: skip
async def test_refused_patches(tmp_path: Path, kind: str, body: Any, code: int) -> None:
    async with local(tmp_path) as api:
        await api.create(CM, "c")
        assert (await api.call("PATCH", f"{CM}/c", body, kind))[0] == code


async def test_apply_creates_then_updates_in_yaml_too(tmp_path: Path) -> None:
    async with local(tmp_path) as api:
        body = b"apiVersion: v1\nkind: ConfigMap\nmetadata: {name: y}\ndata: {a: '1'}\n"
        code, made = await api.call("PATCH", f"{CM}/y", body, APPLY, fieldManager="m")
        assert (code, made["data"]) == (201, {"a": "1"})
        code, after = await api.call("PATCH", f"{CM}/y", body.replace(b"'1'", b"'2'"), APPLY, fieldManager="m")
        assert (code, after["data"]) == (200, {"a": "2"})
        assert (await api.call("PATCH", f"{CM}/z", body, APPLY, fieldManager="m"))[0] == 400
        stale = body.replace(b"name: y", b"name: y, resourceVersion: '1'")
        assert (await api.call("PATCH", f"{CM}/y", stale, APPLY, fieldManager="m"))[0] == 409


async def test_unknown_fields_of_a_patch_are_judged(tmp_path: Path) -> None:
    async with local(tmp_path) as api:
        await api.create(CM, "c")
        code, said = await api.call("PATCH", f"{CM}/c", {"dta": 1}, MERGE, fieldValidation="Strict")
        assert code == 400 and said["message"].endswith('strict decoding error: unknown field "dta"')
