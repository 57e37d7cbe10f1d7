import json

import pytest

from samples.bookinfo.web import Request
from samples.httpbin.httpbin import HttpBin


def ask(path: str, method: str = "GET", body: bytes = b"", **query: str) -> tuple[int, bytes, dict[str, str]]:
    answer = HttpBin({"HOSTNAME": "p", "SERVICE_VERSION": "v2"}, wait=lambda _: None).handle(
        Request(method, path, {name.replace("_", "-"): value for name, value in query.items()}, {"user-agent": "u"}, body)
    )
    return answer.status, answer.body, dict(answer.headers)


def test_request_is_told_with_the_pod() -> None:
    status, body, _ = ask("/anything/x", "POST", b"data", a="1")
    told = json.loads(body)
    assert (status, told["method"], told["path"], told["args"], told["data"]) == (200, "POST", "/anything/x", {"a": "1"}, "data")
    assert (told["pod"], told["version"], told["headers"]) == ("p", "v2", {"user-agent": "u"})


def test_delay_waits_as_long_as_asked() -> None:
    slept: list[float] = []
    HttpBin({}, slept.append).handle(Request("GET", "/delay/1.5", {}, {}))
    assert slept == [1.5]


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/get", 200), ("/post", 405), ("/headers", 200), ("/user-agent", 200), ("/uuid", 200), ("/health", 200), ("/none", 404),
        ("/status/418", 418), ("/status/599", 599), ("/status/100", 400), ("/status/x", 400), ("/status/200.5", 400), ("/status/", 400),
        ("/delay/11", 400), ("/delay/nan", 400), ("/bytes/3", 200), ("/bytes/1048577", 400), ("/bytes/²", 400),
        ("/redirect-to", 400),
    ],
)  # fmt: skip
def test_paths(path: str, status: int) -> None:
    assert ask(path)[0] == status


def test_redirects_and_headers_of_the_answer_are_chosen_by_the_caller() -> None:
    answer = HttpBin({}).handle(Request("GET", "/redirect-to", {"url": "/get", "status_code": "307"}, {}))
    assert (answer.status, answer.headers) == (307, (("location", "/get"),))
    assert ask("/response-headers", x_a="b")[2] == {"x-a": "b"}


@pytest.mark.parametrize(("name", "value"), [("x\r\ny", "1"), ("x", "1\r\ny: 2"), ("content-length", "9"), ("x", "é")])
def test_answer_cannot_be_split(name: str, value: str) -> None:
    assert HttpBin({}).handle(Request("GET", "/response-headers", {name: value}, {})).status == 400


def test_bytes_are_counted() -> None:
    assert ask("/bytes/300")[1] == bytes(range(256)) + bytes(range(44))
