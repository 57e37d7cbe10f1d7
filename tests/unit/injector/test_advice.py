import json
from typing import Any

import pytest

from injector.advice import answer
from injector.review import BadReview
from mesh.model.inert import INERT_KINDS


def body(group: str, kind: str, obj: Any) -> bytes:
    asked = {"uid": "u", "kind": {"group": group, "version": "v1", "kind": kind}, "namespace": "default", "object": obj}
    return json.dumps({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": asked}).encode()


@pytest.mark.parametrize("item", INERT_KINDS, ids=lambda item: item.kind)
def test_what_has_no_effect_is_admitted_with_a_whole_warning(item: Any) -> None:
    done = answer(body(item.group, item.kind, {"metadata": {"name": "deny-all"}, "spec": {}}))
    assert done["response"] == {"uid": "u", "allowed": True, "warnings": [f"Triomesh: {item.kind} deny-all: {item.message}"]}


def test_a_name_that_is_made_later_is_told_by_its_prefix() -> None:
    found = answer(body("security.istio.io", "AuthorizationPolicy", {"metadata": {"generateName": "p-"}, "spec": {}}))
    (warning,) = found["response"]["warnings"]
    assert warning.startswith("Triomesh: AuthorizationPolicy p-*: has no effect")


@pytest.mark.parametrize("obj", [{}, {"metadata": 1, "spec": []}, {"metadata": {"name": "x"}, "spec": {"mtls": {"mode": "STRICT"}}}])
def test_what_works_or_cannot_be_judged_passes_silently(obj: Any) -> None:
    assert answer(body("security.istio.io", "PeerAuthentication", obj))["response"] == {"uid": "u", "allowed": True}


@pytest.mark.parametrize("text", [b"{", b"[]", b'{"kind": "AdmissionReview", "apiVersion": "admission.k8s.io/v1", "request": {"uid": "u", "object": {}}}'])
def test_what_is_no_review_is_refused(text: bytes) -> None:
    with pytest.raises(BadReview):
        answer(text)
