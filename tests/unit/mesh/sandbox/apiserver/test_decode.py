from __future__ import annotations

from typing import Any

import pytest

from mesh.sandbox.apiserver import decode
from mesh.sandbox.apiserver.decode import FieldValidation
from mesh.sandbox.apiserver.kinds import builtin
from mesh.sandbox.apiserver.status import ApiError

PODS = next(r for r in builtin() if r.key == "pods")


def test_duplicate_keys_are_found_with_their_paths() -> None:
    body = decode.decode(b'{"a":1,"a":2,"b":[{"c":{"d":1,"d":2,"d":3}}],"x.y":{"z":1,"z":1}}', "application/json; charset=utf-8")
    assert body.value == {"a": 2, "b": [{"c": {"d": 3}}], "x.y": {"z": 1}}
    assert sorted(body.duplicates) == ["[x.y].z", "a", "b[0].c.d"]


@pytest.mark.parametrize("data", [b"", b"{", b"\xff", b'{"a": NaN}', b'{"a": "\\ud800"}', b"[" * 5000 + b"]" * 5000, b'{"a":' * 300 + b"1" + b"}" * 300])
def test_bad_json_is_a_bad_request(data: bytes) -> None:
    with pytest.raises(ApiError) as refused:
        decode.decode(data, "application/json")
    assert refused.value.code == 400


def test_yaml_is_read_and_bad_yaml_names_the_line() -> None:
    assert decode.decode(b"a: [1, x]\nb: 2030-01-01\n", "application/yaml").value == {"a": [1, "x"], "b": "2030-01-01"}
    with pytest.raises(ApiError, match="line 2"):
        decode.decode(b"a: 1\n b: [\n", "application/yaml")


BOMB = "a0: &a0 [x, x, x, x]\n" + "".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]\n" for n in range(1, 12))
LONG = f"a: &a {'x' * 100_000}\nb: [{', '.join(['*a'] * 1000)}]\n"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (BOMB, "excessive aliasing"),
        (LONG, "excessive aliasing"),
        ("a: &a [*a]\n", "excessive aliasing"),
        ("a: &a {b: *a}\n", "excessive aliasing"),
        ("[" * 100_000, "nested more than 200 levels"),
        ("".join(" " * n + "a:\n" for n in range(300)), "nested more than 200 levels"),
    ],
    ids=["bomb", "long", "loop", "loop of objects", "brackets", "blocks"],
)
def test_yaml_that_grows_without_end_is_refused(text: str, message: str) -> None:
    with pytest.raises(ApiError, match=message):
        decode.decode(text.encode(), "application/yaml")


def test_yaml_aliases_are_read() -> None:
    assert decode.decode(b"a: &a {x: 1}\nb: [*a, *a]\n", "application/yaml").value == {"a": {"x": 1}, "b": [{"x": 1}, {"x": 1}]}


def test_other_types_are_415() -> None:
    with pytest.raises(ApiError) as refused:
        decode.decode(b"", "text/plain", "core.v1.Pod")
    assert refused.value.code == 415 and "application/vnd.kubernetes.protobuf" in refused.value.message


def test_kind_must_fit() -> None:
    assert decode.check_kind({}, PODS) == {"kind": "Pod", "apiVersion": "v1", "metadata": {}}
    for wrong in ({"kind": "Service"}, {"apiVersion": "v2"}, {"metadata": 1}, []):
        with pytest.raises(ApiError):
            decode.check_kind(wrong, PODS)


def conform(obj: dict[str, Any], level: FieldValidation) -> list[str]:
    warnings: list[str] = []
    decode.conform(obj, PODS, level, ["spec.twice"], warnings)
    return warnings


def test_conform_drops_the_unknown_as_told() -> None:
    def pod() -> dict[str, Any]:
        return {"metadata": {"name": "p", "odd": 1, "labels": {}}, "spec": {"containers": [{"name": "a", "imaeg": "x"}], "nodeName": None}}

    obj = pod()
    assert conform(obj, FieldValidation.WARN) == ['duplicate field "spec.twice"', 'unknown field "metadata.odd"', 'unknown field "spec.containers[0].imaeg"']
    assert obj == {"metadata": {"name": "p"}, "spec": {"containers": [{"name": "a"}]}}
    assert conform(pod(), FieldValidation.IGNORE) == []
    with pytest.raises(ApiError, match="strict decoding error: duplicate field"):
        conform(pod(), FieldValidation.STRICT)


def test_wrong_types_are_named() -> None:
    with pytest.raises(ApiError, match=r"cannot unmarshal string into field spec.containers\[0\].ports\[0\].containerPort of type int32"):
        conform({"metadata": {}, "spec": {"containers": [{"ports": [{"containerPort": "80"}]}]}}, FieldValidation.WARN)


def test_levels() -> None:
    assert decode.field_validation("") is FieldValidation.WARN
    with pytest.raises(ApiError) as refused:
        decode.field_validation("Maybe")
    assert refused.value.code == 422
