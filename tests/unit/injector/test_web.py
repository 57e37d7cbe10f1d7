import asyncio
import json
from collections.abc import Mapping
from typing import Any

import httpx
import pytest

from injector import review
from injector.kube import ApiFailed
from injector.review import Answer, Question
from injector.settings import Settings
from injector.web import Web
from tests.support.injector_pods import pod


def body(obj: Any) -> bytes:
    asked = {"uid": "u", "kind": {"kind": "Pod"}, "namespace": "default", "object": obj}
    return json.dumps({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": asked}).encode()


class Client:
    """The application, called without a socket."""

    def __init__(self, failure: Exception | None = None, unready: str = "") -> None:
        self.answers: list[str] = []

        async def inputs(_: Question) -> tuple[Mapping[str, str], Settings]:
            if failure:
                raise failure
            return {"triomesh-injection": "enabled"}, Settings()

        def answered(_: Question, answer: Answer) -> None:
            self.answers.append(answer.outcome)

        self._web = Web(inputs, lambda: unready, answered)

    def send(self, method: str, path: str, content: bytes = b"") -> httpx.Response:
        async def call() -> httpx.Response:
            async with httpx.AsyncClient(transport=httpx.ASGITransport(self._web.app), base_url="http://t") as client:
                return await client.request(method, path, content=content)

        return asyncio.run(call())


def test_reviews_are_answered_and_counted() -> None:
    client = Client()
    assert client.send("POST", "/inject", body(pod())).json()["response"]["allowed"] is True
    client.send("POST", "/inject", body(pod(hostNetwork=True)))
    client.send("POST", "/inject", body(pod(annotations={"sidecar.istio.io/interceptionMode": "TPROXY"})))
    client.send("POST", "/inject", b"{")
    assert client.answers == ["injected", "skipped", "denied"]
    lines = client.send("GET", "/metrics").text.splitlines()
    for line in ("requests_total 4", "success_total 1", "skip_total 1", "failure_total 2"):
        assert f"sidecar_injection_{line}" in lines


def test_mesh_objects_are_admitted_with_advice_and_not_counted_as_pods() -> None:
    client = Client()
    asked = {"uid": "u", "kind": {"group": "security.istio.io", "kind": "AuthorizationPolicy"}, "object": {"metadata": {"name": "deny-all"}, "spec": {}}}
    review = json.dumps({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": asked}).encode()
    response = client.send("POST", "/validate", review).json()["response"]
    assert response["allowed"] is True and len(response["warnings"]) == 1
    assert client.send("POST", "/validate", b"{").status_code == 400
    assert "sidecar_injection_requests_total 0" in client.send("GET", "/metrics").text.splitlines()


def test_malformed_body_is_400_with_the_reason() -> None:
    answer = Client().send("POST", "/inject", b'{"kind": "Pod"}')
    assert (answer.status_code, answer.text) == (400, "kind: must be AdmissionReview\n")
    huge = Client().send("POST", "/inject", b" " * (4 * 1024 * 1024 + 1))
    assert (huge.status_code, "longer than" in huge.text) == (400, True)


def test_what_cannot_be_decided_is_503_so_that_failure_policy_decides() -> None:
    answer = Client(ApiFailed(0, "gone")).send("POST", "/inject", body(pod()))
    assert (answer.status_code, answer.text) == (503, "not able to decide: gone\n")


def test_bug_in_an_answer_is_500_and_logged(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    def broken(*_: object) -> Answer:
        raise ZeroDivisionError("oops")

    monkeypatch.setattr(review, "answer", broken)
    assert Client().send("POST", "/inject", body(pod())).status_code == 500
    assert "ZeroDivisionError" in caplog.text


def test_readiness_says_what_is_missing() -> None:
    assert Client().send("GET", "/ready").status_code == 200
    answer = Client(unready="no settings").send("GET", "/ready")
    assert (answer.status_code, answer.text) == (503, "not ready: no settings\n")
    assert Client(unready="no settings").send("GET", "/healthz").status_code == 200


def test_other_methods_and_paths_are_refused() -> None:
    assert Client().send("GET", "/inject").status_code == 405
    assert Client().send("GET", "/other").status_code == 404
