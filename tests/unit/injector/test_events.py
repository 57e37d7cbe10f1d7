import datetime as dt
from typing import Any

from injector.events import skipped_event
from injector.review import Question, answer
from injector.settings import Settings
from tests.support.injector_pods import pod

NOW = dt.datetime(2026, 1, 2, 3, 4, 5, tzinfo=dt.UTC)


def event(item: dict[str, Any], labels: dict[str, str]) -> dict[str, Any] | None:
    question = Question("u", "default", False, item)
    return skipped_event(question, answer(question, lambda _: labels, Settings()), NOW)


def test_opted_in_pod_that_is_skipped_is_news_for_its_owner() -> None:
    found = event(pod(hostNetwork=True), {"triomesh-injection": "enabled"})
    assert found is not None
    assert found["involvedObject"] == {"kind": "ReplicaSet", "apiVersion": "apps/v1", "name": "reviews-v1-5d8", "uid": "u", "namespace": "default"}
    assert (found["reason"], found["type"], found["firstTimestamp"]) == ("InjectionSkipped", "Warning", "2026-01-02T03:04:05Z")
    assert "hostNetwork" in found["message"]
    assert found["metadata"] == {"generateName": "reviews-v1-5d8.", "namespace": "default"}


def test_pod_without_owner_is_named_itself() -> None:
    found = event({"metadata": {"name": "a"}, "spec": {"hostNetwork": True}}, {"triomesh-injection": "enabled"})
    assert found is not None
    assert found["involvedObject"] == {"kind": "Pod", "apiVersion": "v1", "name": "a", "namespace": "default"}


def test_denied_pod_is_news() -> None:
    found = event(pod(annotations={"sidecar.istio.io/interceptionMode": "TPROXY"}), {"triomesh-injection": "enabled"})
    assert found is not None
    assert "TPROXY" in found["message"]


def test_injected_and_unwanted_pods_are_no_news() -> None:
    assert event(pod(), {"triomesh-injection": "enabled"}) is None
    assert event(pod(), {}) is None
    assert event(pod(hostNetwork=True), {}) is None
