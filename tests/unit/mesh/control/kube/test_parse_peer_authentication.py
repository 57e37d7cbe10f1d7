"""PeerAuthentication, parsed."""

from __future__ import annotations

from typing import Any

import pytest

from mesh.control.kube.parse_peer_authentication import PeerAuthentication, PeerMode, peer_authentication


def parsed(spec: Any) -> PeerAuthentication:
    return peer_authentication({"metadata": {"name": "p", "namespace": "shop"}, "spec": spec})


def test_everything_that_can_be_said() -> None:
    found = parsed(
        {
            "selector": {"matchLabels": {"app": "web"}},
            "mtls": {"mode": "STRICT"},
            "portLevelMtls": {"9080": {"mode": "DISABLE"}, "80": {"mode": "UNSET"}, "81": None},
        }
    )
    assert (found.selector, found.mode, found.problems) == ({"app": "web"}, PeerMode.STRICT, ())
    assert found.ports == {80: PeerMode.UNSET, 81: PeerMode.UNSET, 9080: PeerMode.DISABLE}


@pytest.mark.parametrize("spec", [None, {}, {"mtls": None}, {"mtls": {}}, {"mtls": {"mode": "UNSET"}}, {"selector": {}}])
def test_nothing_said_leaves_it_to_others(spec: Any) -> None:
    found = parsed(spec)
    assert (found.selector, found.mode, found.ports, found.is_broken, found.problems) == ({}, PeerMode.UNSET, {}, False, ())


@pytest.mark.parametrize(
    ("spec", "field", "reason"),
    [
        ({"mtls": {"mode": "strict"}}, "spec.mtls.mode", "UnsupportedValue"),
        ({"mtls": {"mode": 1}}, "spec.mtls.mode", "Invalid"),
        ({"mtls": []}, "spec.mtls", "Invalid"),
        ({"mtls": {"modes": "STRICT"}}, "spec.mtls.modes", "UnsupportedField"),
        ({"mtl": {}}, "spec.mtl", "UnsupportedField"),
        ({"portLevelMtls": {"80": {"mode": "STRICT"}}}, "spec.portLevelMtls", "Invalid"),
    ],
)
def test_a_mistake_is_named_and_has_no_effect(spec: Any, field: str, reason: str) -> None:
    found = parsed(spec)
    assert [(problem.field, problem.reason) for problem in found.problems] == [(field, reason)]
    assert (found.mode, found.ports, found.is_broken) == (PeerMode.UNSET, {}, False)


@pytest.mark.parametrize(
    ("port", "entry", "field"),
    [
        ("0", {"mode": "STRICT"}, "[0]"),
        ("65536", {"mode": "STRICT"}, "[65536]"),
        ("http", {"mode": "STRICT"}, "[http]"),
        ("81", {"mode": "STRIKT"}, "[81].mode"),
        ("81", 1, "[81]"),
    ],
)
def test_a_bad_port_costs_itself_only(port: str, entry: Any, field: str) -> None:
    spec = {"selector": {"matchLabels": {"app": "web"}}, "portLevelMtls": {port: entry, "82": {"mode": "DISABLE"}}}
    found = parsed(spec)
    assert [problem.field for problem in found.problems] == [f"spec.portLevelMtls{field}"]
    assert found.ports == {82: PeerMode.DISABLE}


@pytest.mark.parametrize("spec", ["text", {"selector": 1}, {"selector": {"matchLabels": {"app": 1}}}])
def test_a_policy_for_nobody_knows_whom_is_for_nobody(spec: Any) -> None:
    found = parsed(spec)
    assert found.is_broken and len(found.problems) == 1
