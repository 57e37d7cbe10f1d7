"""The demo's judgements; its story runs in tests/e2e."""

import pytest

from mesh.cli.demo import Report, _is_whole, all_ready, ready_text, report_document, split, versions
from mesh.cli.load import Answer
from mesh.cli.traces import Span


def answer(body: str, status: int = 200, seconds: float = 0.01) -> Answer:
    return Answer(status, body, seconds)


def test_versions_are_read_from_the_pod_names():
    answers = [answer("served by reviews-v1-abc"), answer("served by reviews-v2-abc"), answer("no", 503)]
    assert versions(answers) == {"v1": 1, "v2": 1, "status 503": 1}


def test_split_counts_errors_and_shares_of_what_came():
    measured = split([answer("reviews-v1-a")] * 9 + [answer("reviews-v2-a")] + [answer("down", 503)])
    assert (measured["v1_percent"], measured["v2_percent"], measured["errors"], measured["requests"]) == (90.0, 10.0, 1, 11)


def test_split_of_nothing_but_errors():
    assert split([answer("down", 0)])["v1_percent"] == 0.0


POD = {
    "spec": {"containers": [{"name": "app"}, {"name": "triomesh-proxy"}]},
    "status": {"containerStatuses": [{"name": "app", "ready": True}, {"name": "triomesh-proxy", "ready": False}]},
}


def test_ready_text_counts_containers():
    assert ready_text(POD) == "1/2"


def test_ready_text_counts_native_sidecars():
    pod = {
        "spec": {"containers": [{"name": "app"}], "initContainers": [{"name": "init"}, {"name": "triomesh-proxy", "restartPolicy": "Always"}]},
        "status": {"containerStatuses": [{"name": "app", "ready": True}], "initContainerStatuses": [{"name": "triomesh-proxy", "ready": True}, {"name": "init", "ready": True}]},
    }
    assert ready_text(pod) == "2/2"


@pytest.mark.parametrize(("text", "complete"), [("2/2", True), ("1/2", False), ("0/2", False)])
def test_all_ready(text, complete):
    assert all_ready(text) is complete


def test_a_promise_that_does_not_hold_is_in_the_report():
    report = Report()
    report.check(True, "fine")
    report.check(False, "90/10")
    assert (report_document(report)["ok"], report_document(report)["failures"]) == (False, ["90/10"])


def hop(number: int, parent: int, service: str, kind: str) -> Span:
    return Span(f"s{number}", f"s{parent}", f"{service}.default", "/", number, 1, {"span.kind": kind})


PAGE_SPANS = [
    hop(1, 0, "triomesh-ingressgateway", "client"),
    hop(2, 1, "productpage", "server"),
    hop(3, 2, "productpage", "client"),
    hop(4, 3, "details", "server"),
    hop(5, 2, "productpage", "client"),
    hop(6, 5, "reviews", "server"),
    hop(7, 6, "reviews", "client"),
    hop(8, 7, "ratings", "server"),
]


def test_a_trace_is_whole_when_no_span_is_missing() -> None:
    assert _is_whole(PAGE_SPANS)
    for missing in PAGE_SPANS:
        assert not _is_whole([span for span in PAGE_SPANS if span is not missing])
