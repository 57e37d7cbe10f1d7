"""Fields: typed access that blames the exact field."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from mesh.control.kube.fields import FieldError, Fields, Reader
from mesh.model.origin import ObjectRef, Severity

REF = ObjectRef("VirtualService", "default", "reviews")


def fields(value: Any) -> Fields:
    return Fields(value, "spec", Reader(REF))


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("7s", 7.0), ("1.5s", 1.5), ("500ms", 0.5), ("1h30m", 5400.0), ("0", 0.0), ("0s", 0.0), ("10us", 1e-5)],
)
def test_durations_are_gos_and_protobufs(text: str, seconds: float) -> None:
    assert fields({"timeout": text}).seconds("timeout") == pytest.approx(seconds)


@pytest.mark.parametrize("text", ["7", "s", "-1s", "7 s", "1d", "1s2"])
def test_a_bad_duration_names_its_field(text: str) -> None:
    with pytest.raises(FieldError, match=r"spec\.timeout: must be a duration"):
        fields({"timeout": text}).seconds("timeout")


@pytest.mark.parametrize("text", ["2562048h", "99999999999999h", "9" * 400 + "s"])
def test_a_duration_that_no_proxy_could_hold_names_its_field(text: str) -> None:
    with pytest.raises(FieldError, match=r"spec\.timeout: must be at most 2562047h, is '9*2?"):
        fields({"timeout": text}).seconds("timeout")
    assert fields({"timeout": "2562047h"}).seconds("timeout") == 2562047 * 3600


@pytest.mark.parametrize(
    ("read", "value", "message"),
    [
        (lambda f: f.text("x"), 3, "must be a string, is a number 3"),
        (lambda f: f.boolean("x"), "true", "must be true or false, is a string 'true'"),
        (lambda f: f.integer("x", 0, 10), 11, "must be within 0..10, is 11"),
        (lambda f: f.integer("x", 0, 10), True, "must be an integer, is a boolean True"),
        (lambda f: f.integer("x", 0, 10), 1.5, "must be an integer"),
        (lambda f: f.number("x", 0, 100), 100.5, "must be within 0..100, is 100.5"),
        (lambda f: f.texts("x"), "a", "must be a list, is a string"),
        (lambda f: f.texts("x"), ["a", 1], "must be a string, is a number"),
        (lambda f: f.text_map("x"), {"a": 1}, "must be a string, is a number"),
        (lambda f: f.object("x"), [], "must be an object, is a list"),
        (lambda f: f.one_of("x", {"A": 1}, 1), "B", "must be one of A, is 'B'"),
        (lambda f: f.required_text("x"), None, "is required"),
        (lambda f: list(f.entries("x")), [], "must be an object, is a list"),
    ],
)
def test_wrong_types_are_blamed(read: Callable[[Fields], Any], value: Any, message: str) -> None:
    with pytest.raises(FieldError, match=message):
        read(fields({"x": value}))


def test_absent_fields_have_their_defaults() -> None:
    empty = fields({"null": None})
    assert (empty.text("a"), empty.integer("b", 0, 1), empty.texts("c"), empty.seconds("null")) == ("", None, (), None)


def test_a_whole_double_is_an_integer() -> None:
    assert fields({"weight": 90.0}).integer("weight", 0, 100) == 90


def test_keys_nobody_asked_for_are_reported() -> None:
    item = fields({"known": "a", "typo": 1, "absent": None})
    item.text("known")
    item.close()
    (problem,) = item.reader.problems
    assert (problem.field, problem.reason, problem.severity) == ("spec.typo", "UnsupportedField", Severity.WARNING)


def test_collect_leaves_out_only_what_fails() -> None:
    item = fields({"ports": [{"number": 80}, "x", {"number": "no"}, {"number": 443}]})
    assert item.reader.collect(item.objects("ports"), lambda port: port.port("number")) == (80, 443)
    assert [problem.field for problem in item.reader.problems] == ["spec.ports[1]", "spec.ports[2].number"]
