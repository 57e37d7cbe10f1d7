from __future__ import annotations

from typing import Any

import pytest

from mesh.sandbox.apiserver.jsonpath import BadPath, find, parse

OBJ = {"spec": {"hosts": ["a", "b"], "x.y": 1, "ok": True}, "status": {"conditions": [{"type": "Ready", "status": "True"}, {"type": "Other", "status": "False"}]}}


@pytest.mark.parametrize(
    ("path", "found"),
    [
        (".spec.hosts", [["a", "b"]]), (".spec.hosts[0]", ["a"]), (".spec.hosts[-1]", ["b"]), (".spec.hosts[5]", []), (".spec.hosts[*]", ["a", "b"]), (".spec['x.y']", [1]),
        (".spec.x\\.y", [1]), ('.status.conditions[?(@.type=="Ready")].status', ["True"]), (".status.conditions[?(@.type!='Ready')].status", ["False"]),
        ("{.spec.ok}", [True]), ("spec.ok", [True]), (".missing.deep", []), ("$.spec.ok", [True]), (".", [OBJ]),
    ],
)  # fmt: skip
def test_find(path: str, found: list[Any]) -> None:
    assert find(path, OBJ) == found


@pytest.mark.parametrize("path", [".a[?(@.b>1)]", ".a[", ".a..b"])
def test_what_is_not_read_is_refused(path: str) -> None:
    with pytest.raises(BadPath):
        parse(path)
