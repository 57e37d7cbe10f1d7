"""Shared pieces of parsers."""

from __future__ import annotations

from typing import Any

import pytest

from mesh.control.kube import parse_match
from mesh.control.kube.fields import FieldError, Fields, Reader
from mesh.model.match import StringKind, StringMatch
from mesh.model.origin import ObjectRef
from mesh.model.route import HeaderMutation


def fields(value: Any) -> Fields:
    return Fields(value, "x", Reader(ObjectRef("K", "n", "o")))


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("reviews", "reviews.default.svc.cluster.local"),
        ("Reviews", "reviews.default.svc.cluster.local"),
        ("reviews.other.svc.cluster.local", "reviews.other.svc.cluster.local"),
        ("www.googleapis.com.", "www.googleapis.com"),
        ("*.com", "*.com"),
        ("*", "*"),
    ],
)
def test_short_names_belong_to_the_objects_namespace(host: str, expected: str) -> None:
    assert parse_match.fqdn(host, "default") == expected


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ({"exact": "jason"}, StringMatch(StringKind.EXACT, "jason")),
        ({"prefix": "a"}, StringMatch(StringKind.PREFIX, "a")),
        ({"regex": "^(.*?;)?(user=jason)(;.*)?$"}, StringMatch(StringKind.REGEX, "^(.*?;)?(user=jason)(;.*)?$")),
        ({"exact": ""}, StringMatch(StringKind.EXACT, "")),
        ({}, None),
    ],
)
def test_string_match(value: Any, expected: StringMatch | None) -> None:
    assert parse_match.string_match(fields(value)) == expected


def test_case_is_never_ignored_in_a_regex() -> None:
    assert parse_match.string_match(fields({"regex": "a"}), ignore_case=True) == StringMatch(StringKind.REGEX, "a")


@pytest.mark.parametrize("value", [{"exact": "a", "prefix": "b"}, {"regex": "("}, {"regex": "(?=a)"}, {"regex": ""}, {"exact": 3}])
def test_bad_string_matches(value: Any) -> None:
    with pytest.raises(FieldError):
        parse_match.string_match(fields(value))


def test_headers_in_both_directions() -> None:
    request, response = parse_match.istio_headers(
        fields(
            {"request": {"set": {"X-A": "%REQ(b)%", "Host": "h"}, "remove": ["X-C"]}, "response": {"add": {"d": "e"}}}
        )
    )
    assert request == HeaderMutation(set=(("x-a", "%REQ(b)%"),), remove=("x-c",))
    assert response == HeaderMutation(add=(("d", "e"),))


def test_setting_host_is_an_authority_rewrite() -> None:
    assert parse_match.host_of(fields({"request": {"set": {"Host": "h"}}})) == "h"
    assert parse_match.host_of(fields({"request": {}})) is None


@pytest.mark.parametrize("name", ["content-length", "Transfer-Encoding", "a b", "", "host"])
def test_headers_a_rule_may_not_touch(name: str) -> None:
    with pytest.raises(FieldError):
        parse_match.mutable_header(name, "f")


def test_header_values_hold_no_control_characters() -> None:
    with pytest.raises(FieldError, match="control character"):
        parse_match.header_value("a\r\nb", "f")


def test_literal_values_cannot_be_operators() -> None:
    assert parse_match.literal("100% %REQ(x)%") == "100%% %%REQ(x)%%"


@pytest.mark.parametrize(
    ("value", "expected"), [({}, 100.0), ({"percentage": {"value": 0.1}}, 0.1), ({"percentage": {}}, 100.0)]
)
def test_percentage(value: Any, expected: float) -> None:
    assert parse_match.percentage(fields(value), "percentage", 100.0) == expected
