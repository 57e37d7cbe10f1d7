from __future__ import annotations

import pytest

from mesh.sandbox.apiserver import selectors
from mesh.sandbox.apiserver.kinds import builtin
from mesh.sandbox.apiserver.status import ApiError

PODS = next(r for r in builtin() if r.key == "pods")
EVENTS = next(r for r in builtin() if r.key == "events" and r.group)
LABELS = {"app": "web", "tier": "2", "example.com/x": ""}


@pytest.mark.parametrize(
    ("text", "matches"),
    [
        ("", True), ("app=web", True), ("app==web", True), ("app!=web", False), ("missing!=x", True), ("app in (a, web)", True), ("app notin (web)", False),
        ("missing notin (x)", True), ("app", True), ("!app", False), ("!missing", True), ("tier>1", True), ("tier<2", False), ("app>1", False),
        ("example.com/x=", True), ("app=web,!missing,tier in (2,3)", True), ("app=web,missing", False),
    ],
)  # fmt: skip
def test_label_selectors(text: str, matches: bool) -> None:
    assert selectors.parse_labels(text)(LABELS) is matches


@pytest.mark.parametrize("text", ["a in b", "=x", "a=b=c", "a in (", "a<b"])
def test_bad_label_selectors_are_refused(text: str) -> None:
    with pytest.raises(ApiError) as refused:
        selectors.parse_labels(text)
    assert refused.value.code == 400


def test_field_selectors() -> None:
    pod = {"metadata": {"name": "p", "namespace": "n"}, "spec": {"nodeName": "n1", "hostNetwork": True}, "status": {}}
    cases = {"metadata.name=p,spec.nodeName=n1": True, "spec.nodeName!=n1": False, "status.phase=": True, "spec.hostNetwork=true": True, "metadata.namespace==m": False}
    assert {text: selectors.parse_fields(text, PODS)(pod) for text in cases} == cases
    for bad in ("spec.image=x", "nonsense"):
        with pytest.raises(ApiError):
            selectors.parse_fields(bad, PODS)


def test_events_of_the_new_group_are_selected_by_their_own_field_names() -> None:
    event = {"metadata": {"name": "e"}, "involvedObject": {"name": "p"}, "source": {"component": "kubelet"}}
    assert selectors.parse_fields("regarding.name=p,source=kubelet", EVENTS)(event)


def test_selector_objects() -> None:
    expressions = [{"key": "app", "operator": "In", "values": ["web"]}, {"key": "no", "operator": "NotIn", "values": ["x"]}, {"key": "tier", "operator": "Exists"}, {"key": "no", "operator": "DoesNotExist"}]
    assert selectors.match_selector({"matchLabels": {"app": "web"}, "matchExpressions": expressions}, LABELS)
    assert not selectors.match_selector({"matchLabels": {"app": "api"}}, LABELS)
    assert selectors.match_selector({}, LABELS) and not selectors.match_selector(None, LABELS)
    assert selectors.format_selector({"matchLabels": {"b": "2", "a": "1"}, "matchExpressions": expressions[:1]}) == "a=1,b=2,app in (web)"
    assert selectors.format_selector({}) == "<none>"
