import json
from collections.abc import Mapping

import pytest

from samples.bookinfo.forward import Reply, Unreachable
from samples.bookinfo.productpage import ProductPage
from samples.bookinfo.web import Request
from tests.support.injector_bookinfo import get

OK = {"details": Reply(200, b'{"id": 0}'), "reviews": Reply(200, b'{"reviews": []}'), "ratings": Reply(200, b'{"ratings": {}}')}


class Backends:
    """Answers by service; records (service, end-user, timeout)."""

    def __init__(self, **replies: Reply | Exception) -> None:
        self.replies: dict[str, Reply | Exception] = {**OK, **replies}
        self.calls: list[tuple[str, str, float]] = []

    def __call__(self, url: str, headers: Mapping[str, str], timeout_seconds: float) -> Reply:
        service = url.split("/")[3]
        self.calls.append((url.removeprefix("http://"), headers.get("end-user", ""), timeout_seconds))
        reply = self.replies[service]
        if isinstance(reply, Exception):
            raise reply
        return reply


def login(service: ProductPage, user: str, referrer: str = "") -> tuple[str, str]:
    """(where to, cookie)"""
    headers = {"referer": referrer} if referrer else {}
    answer = service.handle(Request("POST", "/login", {}, headers, f"username={user}&passwd=x".encode()))
    assert answer.status == 302
    found = dict(answer.headers)
    return found["location"], found["set-cookie"].split(";")[0]


def test_page_asks_details_and_reviews_with_three_seconds_each() -> None:
    backends = Backends()
    answer = ProductPage({}, backends).handle(get("/productpage"))
    assert (answer.status, answer.content_type) == (200, "text/html; charset=utf-8")
    assert backends.calls == [("details:9080/details/0", "", 3.0), ("reviews:9080/reviews/0", "", 3.0)]


def test_login_puts_the_user_into_the_header_and_logout_takes_it_out() -> None:
    backends = Backends()
    service = ProductPage({}, backends)
    _, cookie = login(service, "jason")
    service.handle(get("/productpage", {"cookie": cookie, "end-user": "mallory"}))
    assert [call[1] for call in backends.calls] == ["jason", "jason"]
    answer = service.handle(get("/logout", {"cookie": cookie}))
    assert (answer.status, "Max-Age=0" in dict(answer.headers)["set-cookie"]) == (302, True)


@pytest.mark.parametrize(
    ("referrer", "target"),
    [
        ("", "/productpage"),
        ("http://h:1/productpage?u=test", "/productpage?u=test"),
        ("http://evil.example//evil.example/x", "/productpage"),
        ("javascript:alert(1)", "/productpage"),
    ],
)
def test_login_leads_back_on_this_site_only(referrer: str, target: str) -> None:
    assert login(ProductPage({}, Backends()), "jason", referrer)[0] == target


@pytest.mark.parametrize("user", ["", "%0d%0ax:y", "x" * 65, "j%C3%BC"])
def test_user_names_that_are_no_header_are_refused(user: str) -> None:
    assert ProductPage({}, Backends()).handle(Request("POST", "/login", {}, {}, f"username={user}".encode())).status == 400


def test_reviews_are_asked_twice_and_the_page_comes_all_the_same() -> None:
    backends = Backends(reviews=Unreachable("timed out"))
    answer = ProductPage({}, backends).handle(get("/productpage"))
    assert answer.status == 200
    assert b"Sorry, product reviews are currently unavailable for this book." in answer.body
    assert [call[0] for call in backends.calls] == ["details:9080/details/0"] + ["reviews:9080/reviews/0"] * 2


def test_results_of_the_backends_are_counted() -> None:
    service = ProductPage({}, Backends(details=Reply(555, b""), reviews=Unreachable("x")))
    service.handle(get("/productpage"))
    lines = service.handle(get("/metrics")).body.decode().splitlines()
    assert 'request_result_total{destination_app="details",response_code="555"} 1' in lines
    assert 'request_result_total{destination_app="reviews",response_code="500"} 2' in lines


def test_flood_factor_adds_calls_of_reviews() -> None:
    import threading

    backends = Backends()
    ProductPage({"FLOOD_FACTOR": "5"}, backends).handle(get("/productpage"))
    for thread in threading.enumerate():
        if thread is not threading.current_thread() and thread.daemon and thread.name.endswith("(_reviews)"):
            thread.join(5)
    assert sum(call[0].startswith("reviews") for call in backends.calls) == 6


@pytest.mark.parametrize(
    ("path", "status", "called"),
    [
        ("/api/v1/products", 200, []),
        ("/api/v1/products/3", 200, ["details:9080/details/3"]),
        ("/api/v1/products/0/reviews", 200, ["reviews:9080/reviews/0"]),
        ("/api/v1/products/0/ratings", 200, ["ratings:9080/ratings/0"]),
        ("/api/v1/products/x", 404, []),
        ("/api/v1/products/0/other", 404, []),
        ("/", 200, []),
        ("/index.html", 200, []),
        ("/health", 200, []),
        ("/static/style.css", 200, []),
        ("/static/none", 404, []),
        ("/login", 405, []),
        ("/none", 404, []),
    ],
)
def test_paths(path: str, status: int, called: list[str]) -> None:
    backends = Backends()
    assert ProductPage({}, backends).handle(get(path)).status == status
    assert [call[0] for call in backends.calls] == called


def test_api_hands_on_a_backends_status() -> None:
    answer = ProductPage({}, Backends(ratings=Reply(503, b"x"))).handle(get("/api/v1/products/0/ratings"))
    assert (answer.status, json.loads(answer.body)) == (503, {"error": "Sorry, product ratings are currently unavailable for this book."})


def test_backend_that_does_not_speak_json_is_apologised_for() -> None:
    answer = ProductPage({}, Backends(details=Reply(200, b"<html>"))).handle(get("/api/v1/products/0"))
    assert answer.status == 500
