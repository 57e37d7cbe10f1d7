"""For every set of PeerAuthentications: the mode in force is what Istio's documentation says, worked out anew here."""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from mesh.control.kube import kinds
from mesh.control.kube.world import WorldStore
from mesh.control.translate.authentication import authentication
from tests.support.world import SYSTEM

MODES = ("UNSET", "DISABLE", "PERMISSIVE", "STRICT")
NAMESPACES = (SYSTEM, "a", "b")
PODS = [{}, {"app": "x"}, {"app": "y"}, {"app": "x", "v": "1"}]
PORTS = (80, 81)

maybe_mode = st.none() | st.sampled_from(MODES).map(lambda mode: {"mode": mode})
ports = st.none() | st.dictionaries(st.sampled_from(PORTS).map(str), maybe_mode, max_size=2)
selectors = st.sampled_from([None, {}, {"matchLabels": {}}, {"matchLabels": {"app": "x"}}, {"matchLabels": {"v": "1"}}])


@st.composite
def policies(draw: st.DrawFn) -> list[dict[str, Any]]:
    found = []
    for index in range(draw(st.integers(0, 6))):
        spec = {"selector": draw(selectors), "mtls": draw(maybe_mode), "portLevelMtls": draw(ports)}
        created = f"2026-01-01T00:00:0{draw(st.integers(0, 3))}Z"
        metadata = {"name": f"p{index}", "namespace": draw(st.sampled_from(NAMESPACES)), "creationTimestamp": created}
        found.append({"metadata": metadata, "spec": spec})
    return found


def expected(objects: list[dict[str, Any]], namespace: str, labels: dict[str, str], port: int) -> str:
    """Candidates from the narrowest place to the widest; the first that says something."""

    def labels_of(item: dict[str, Any]) -> dict[str, str]:
        return (item["spec"]["selector"] or {}).get("matchLabels") or {}

    def oldest(place: str, is_selected: bool) -> dict[str, Any] | None:
        fits = [
            item
            for item in objects
            if item["metadata"]["namespace"] == place
            and bool(labels_of(item)) == is_selected
            and labels_of(item).items() <= labels.items()
        ]
        return min(fits, key=lambda item: (item["metadata"]["creationTimestamp"], item["metadata"]["name"]), default=None)

    said: list[dict[str, Any] | None] = []
    own = oldest(namespace, True)
    if own is not None:
        said += [(own["spec"]["portLevelMtls"] or {}).get(str(port)), own["spec"]["mtls"]]
    for place in (namespace, SYSTEM):
        wide = oldest(place, False)
        if wide is not None:
            said.append(wide["spec"]["mtls"])
    modes = [entry["mode"] for entry in said if entry is not None and entry["mode"] != "UNSET"]
    return modes[0] if modes else "PERMISSIVE"


@settings(max_examples=300, deadline=None)
@given(policies())
def test_the_mode_in_force_is_the_narrowest_that_is_set(objects: list[dict[str, Any]]) -> None:
    store = WorldStore()
    for item in objects:
        store.put(kinds.PEER_AUTHENTICATION, item)
    found = authentication(store.take()[0], SYSTEM)
    for namespace in NAMESPACES:
        for labels in PODS:
            demand = found.of(namespace, labels)
            assert {port: demand.at(port).value for port in PORTS} == {
                port: expected(objects, namespace, labels, port) for port in PORTS
            }
