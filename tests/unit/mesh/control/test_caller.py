"""Who calls, by the API server's word; and whether the node is who it says."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import grpc
import pytest

from mesh.control.caller import (
    REFUSALS,
    Caller,
    Denied,
    Exhausted,
    Unauthenticated,
    Unavailable,
    admitted,
    bearer_token,
    caller,
    review,
)
from mesh.model.node import Node, Role

CART = Caller("shop", "cart", "cart-1")
NODE = Node(
    id="sidecar~10.0.0.1~cart-1.shop~shop.svc.cluster.local",
    role=Role.SIDECAR,
    ip="10.0.0.1",
    name="cart-1",
    namespace="shop",
    metadata={"SERVICE_ACCOUNT": "cart", "NAMESPACE": "shop"},
)


def _answer(**changed: Any) -> dict[str, Any]:
    user = {
        "username": "system:serviceaccount:shop:cart",
        "groups": ["system:serviceaccounts", "system:authenticated"],
        "extra": {"authentication.kubernetes.io/pod-name": ["cart-1"]},
    }
    status = {"authenticated": True, "audiences": ["triomesh-ca"], "user": user}
    for key, value in changed.items():
        (status if key in ("authenticated", "audiences", "error") else user)[key] = value
    return {"status": status}


def test_a_token_is_found_in_the_metadata() -> None:
    assert bearer_token([("user-agent", "x"), ("authorization", "bearer abc.d-e_f")]) == "abc.d-e_f"


@pytest.mark.parametrize(
    "values", [[], ["abc"], ["Basic abc"], ["Bearer "], ["Bearer a b"], ["Bearer ä"], ["Bearer a", "Bearer b"], [""]]
)
def test_what_is_no_bearer_token_is_nobodys(values: list[str]) -> None:
    with pytest.raises(Unauthenticated, match="authorization"):
        bearer_token([("authorization", value) for value in values])


def test_a_review_asks_for_our_audiences() -> None:
    assert review("t")["spec"] == {"token": "t", "audiences": ["triomesh-ca", "istio-ca"]}


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (_answer(), CART),
        (_answer(audiences=["istio-ca"]), CART),
        (_answer(extra=None), replace(CART, pod="")),
        (_answer(extra={"authentication.kubernetes.io/pod-name": []}), replace(CART, pod="")),
    ],
)
def test_a_service_account_is_a_caller(answer: dict[str, Any], expected: Caller) -> None:
    assert caller(answer) == expected
    assert str(caller(answer).identity("td")) == "spiffe://td/ns/shop/sa/cart"


@pytest.mark.parametrize(
    ("answer", "refusal", "said"),
    [
        ({}, Unauthenticated, "does not know it"),
        (_answer(authenticated=False, error="token has expired"), Unauthenticated, "token has expired"),
        (_answer(audiences=None), Unauthenticated, "not for triomesh-ca"),
        (_answer(audiences=["https://kubernetes.default.svc"]), Unauthenticated, "not for triomesh-ca"),
        (_answer(username="kubernetes-admin"), Denied, "'kubernetes-admin' is not a service account"),
        (_answer(username="system:serviceaccount:shop"), Denied, "is not a service account"),
        (_answer(username="system:serviceaccount:shop:"), Denied, "is not a service account"),
        (_answer(username="system:serviceaccount:a:b:c"), Denied, "is not a service account"),
        (_answer(groups=["system:authenticated"]), Denied, "is not a service account"),
        (_answer(groups=None), Denied, "is not a service account"),
    ],
)
def test_others_are_not(answer: dict[str, Any], refusal: type[Exception], said: str) -> None:
    with pytest.raises(refusal, match=said):
        caller(answer)


@pytest.mark.parametrize(
    ("node", "by"),
    [
        (NODE, CART),
        (NODE, replace(CART, pod="")),
        (replace(NODE, metadata={"SERVICE_ACCOUNT": "cart"}), CART),
        # A proxyless client's id is its own business; namespace and account are not.
        (replace(NODE, role=Role.GRPC, id="me", name="me"), CART),
    ],
)
def test_a_node_that_is_who_it_says_gets_an_identity(node: Node, by: Caller) -> None:
    assert admitted(node, by) == replace(node, has_identity=True)


@pytest.mark.parametrize(
    ("node", "said"),
    [
        (replace(NODE, namespace="other"), "its namespace is 'other', its token's is 'shop'"),
        (replace(NODE, metadata={"SERVICE_ACCOUNT": "cart", "NAMESPACE": "other"}), "its namespace is 'other'"),
        (
            replace(NODE, metadata={"SERVICE_ACCOUNT": "till"}),
            "its metadata SERVICE_ACCOUNT is 'till', its token's is 'cart'",
        ),
        (replace(NODE, metadata={}), "its metadata SERVICE_ACCOUNT is '', its token's is 'cart'"),
        (replace(NODE, name="cart-2"), "its pod is 'cart-2', its token's is 'cart-1'"),
        (replace(NODE, role=Role.GRPC, namespace=""), "its namespace is ''"),
    ],
)
def test_a_node_that_says_that_it_is_another_is_denied(node: Node, said: str) -> None:
    with pytest.raises(Denied, match=re.escape(said)):
        admitted(node, CART)


def test_every_refusal_has_its_status() -> None:
    assert {kind: code.name for kind, code in REFUSALS.items()} == {
        Unauthenticated: "UNAUTHENTICATED",
        Denied: "PERMISSION_DENIED",
        Exhausted: "RESOURCE_EXHAUSTED",
        Unavailable: "UNAVAILABLE",
    }
    assert all(isinstance(code, grpc.StatusCode) for code in REFUSALS.values())
