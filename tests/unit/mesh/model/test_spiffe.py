"""SPIFFE ids in Istio's form."""

from __future__ import annotations

import pytest

from mesh.model.spiffe import DEFAULT_TRUST_DOMAIN, SpiffeId, is_trust_domain


def test_an_id_is_istios_uri() -> None:
    assert str(SpiffeId(DEFAULT_TRUST_DOMAIN, "default", "bookinfo-reviews")) == (
        "spiffe://cluster.local/ns/default/sa/bookinfo-reviews"
    )


@pytest.mark.parametrize(
    ("trust_domain", "namespace", "account"),
    [
        ("Example.com", "a", "b"),
        ("", "a", "b"),
        ("example.com/x", "a", "b"),
        ("example.com", "", "b"),
        ("example.com", "a", ".."),
        ("example.com", "a/sa/admin", "b"),
        ("example.com", "a", "b\n"),
        ("example.com\n", "a", "b"),
    ],
)
def test_what_would_change_the_ids_meaning_is_refused(trust_domain: str, namespace: str, account: str) -> None:
    with pytest.raises(ValueError):
        SpiffeId(trust_domain, namespace, account)


@pytest.mark.parametrize(
    ("text", "is_one"), [("td1", True), ("a" * 255, True), ("a" * 256, False), ("spiffe://a", False)]
)
def test_trust_domains(text: str, is_one: bool) -> None:
    assert is_trust_domain(text) is is_one
