import base64
import json
from typing import Any

import pytest

from injector import jsonpatch
from injector.patch import inject
from injector.review import BadReview, Question, answer, name_of, parse
from injector.settings import Settings
from tests.support.injector_pods import pod

ENABLED = {"triomesh-injection": "enabled"}


def body(obj: Any, **request: Any) -> bytes:
    asked = {"uid": "u1", "kind": {"group": "", "version": "v1", "kind": "Pod"}, "namespace": "default", "object": obj, **request}
    return json.dumps({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": asked}).encode()


def test_injection_is_answered_with_a_patch() -> None:
    done = answer(parse(body(pod())), lambda _: ENABLED, Settings())
    response = done.body["response"]
    assert (response["uid"], response["allowed"], response["patchType"]) == ("u1", True, "JSONPatch")
    operations = json.loads(base64.b64decode(response["patch"]))
    assert jsonpatch.apply(pod(), operations) == inject(pod(), "default", Settings()).pod
    assert done.outcome == "injected"


def test_pod_that_nobody_wants_injected_is_admitted_as_it_is() -> None:
    done = answer(parse(body(pod())), lambda _: {}, Settings())
    assert done.body["response"] == {"uid": "u1", "allowed": True}
    assert done.outcome == "skipped"


def test_refusal_is_422_with_the_annotation_and_the_value() -> None:
    done = answer(parse(body(pod(annotations={"traffic.sidecar.istio.io/excludeOutboundPorts": "x"}))), lambda _: ENABLED, Settings())
    status = done.body["response"]["status"]
    assert (done.body["response"]["allowed"], status["code"], done.outcome) == (False, 422, "denied")
    assert "pod default/reviews-v1-5d8-*: annotation traffic.sidecar.istio.io/excludeOutboundPorts='x'" in status["message"]


def test_warnings_are_cut_to_what_kubernetes_shows() -> None:
    done = answer(parse(body(pod(annotations={"sidecar.istio.io/" + "x" * 300: "y"}))), lambda _: ENABLED, Settings())
    assert [len(text) for text in done.body["response"]["warnings"]] == [256]


def test_dry_run_and_namespace_are_read() -> None:
    question = parse(body(pod(), dryRun=True, namespace="shop"))
    assert (question.dry_run, question.namespace) == (True, "shop")
    assert name_of(question) == "shop/reviews-v1-5d8-*"
    assert name_of(Question("u", "d", False, {"metadata": {"name": "a"}})) == "d/a"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"{", "the body is not JSON"),
        (b"\xff\xfe", "the body is not JSON"),
        (b"[]", "kind: must be AdmissionReview"),
        (b'{"kind": "AdmissionReview", "apiVersion": "admission.k8s.io/v1beta1"}', "apiVersion: must be admission.k8s.io/v1"),
        (b'{"kind": "AdmissionReview", "apiVersion": "admission.k8s.io/v1"}', "request: is missing"),
        (body(pod(), uid=""), "request.uid: is missing"),
        (body(None), "request.object: is missing"),
        (body(pod(), kind={"group": "apps", "kind": "Deployment"}), "request.kind: only Pods"),
        (b"[" * 100000, "the body is not JSON"),
    ],
)
def test_malformed_review_says_what_is_wrong(text: bytes, message: str) -> None:
    with pytest.raises(BadReview) as caught:
        parse(text)
    assert message in str(caught.value)
