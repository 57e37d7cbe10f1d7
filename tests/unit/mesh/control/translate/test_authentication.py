"""Which mode holds where."""

from __future__ import annotations

from mesh.control.kube.parse_peer_authentication import PeerMode
from mesh.control.translate.authentication import Authentication, Demand
from tests.support.world import SYSTEM, Cluster


def policy(name: str, namespace: str, spec: str) -> str:
    return f"apiVersion: security.istio.io/v1\nkind: PeerAuthentication\nmetadata: {{name: {name}, namespace: {namespace}}}\nspec: {spec}"


def made(*policies: str) -> Authentication:
    cluster = Cluster()
    for text in policies:
        cluster.apply(text)
    return cluster.graph().authentication


MESH = policy("mesh", SYSTEM, "{mtls: {mode: STRICT}}")
SHOP = policy("shop", "shop", "{mtls: {mode: DISABLE}}")
WEB = policy("web", "shop", "{selector: {matchLabels: {app: web}}, mtls: {mode: PERMISSIVE}, portLevelMtls: {80: {mode: STRICT}}}")
LABELS = {"app": "web", "version": "v1"}


def test_without_a_policy_both_are_taken() -> None:
    assert made().of("shop", LABELS) == Demand(PeerMode.PERMISSIVE)


def test_the_narrower_policy_wins() -> None:
    found = made(MESH, SHOP, WEB)
    assert found.of("elsewhere", LABELS) == Demand(PeerMode.STRICT)
    assert found.of("shop", {"app": "other"}) == Demand(PeerMode.DISABLE)
    web = found.of("shop", LABELS)
    assert (web.at(80), web.at(81)) == (PeerMode.STRICT, PeerMode.PERMISSIVE)


def test_unset_is_as_the_wider_policy_has_it() -> None:
    unset = policy("web", "shop", "{selector: {matchLabels: {app: web}}, portLevelMtls: {80: {mode: UNSET}, 81: {mode: DISABLE}}}")
    found = made(MESH, policy("shop", "shop", "{}"), unset).of("shop", LABELS)
    assert (found.at(80), found.at(81), found.at(82)) == (PeerMode.STRICT, PeerMode.DISABLE, PeerMode.STRICT)


def test_the_oldest_wins_and_the_others_are_told() -> None:
    found = made(SHOP, policy("later", "shop", "{mtls: {mode: STRICT}}"), WEB, WEB.replace("name: web", "name: again"))
    assert found.of("shop", {}).mode is PeerMode.DISABLE
    assert [(p.ref.name, p.field, p.reason) for p in found.problems] == [
        ("later", "spec", "Conflict"),
        ("again", "spec.selector", "Conflict"),
    ]


def test_a_selector_in_the_root_namespace_means_its_own_pods() -> None:
    found = made(policy("edge", SYSTEM, "{selector: {matchLabels: {app: web}}, mtls: {mode: STRICT}}"))
    assert found.of(SYSTEM, LABELS).mode is PeerMode.STRICT
    assert found.of("shop", LABELS).mode is PeerMode.PERMISSIVE


def test_a_policy_for_nobody_knows_whom_changes_nothing() -> None:
    assert made(policy("broken", "shop", "{selector: 1, mtls: {mode: STRICT}}")).of("shop", LABELS).mode is PeerMode.PERMISSIVE
