import socket

import pytest

from samples.bookinfo import forward
from samples.bookinfo.forward import Reply, Unreachable
from samples.bookinfo.web import Response
from tests.support.injector_bookinfo import Recorder, serving

B3 = {"x-b3-traceid": "1", "x-b3-spanid": "2", "x-b3-sampled": "1", "x-b3-parentspanid": "3", "x-b3-flags": "0"}
TRACE = {"x-request-id": "r", "traceparent": "t", "tracestate": "s", "user-agent": "u", "cookie": "c", "authorization": "a"}


def test_backends_forward_all_they_know_and_nothing_else() -> None:
    assert forward.backend_headers({**TRACE, **B3, "end-user": "jason", "b3": "single", "x-other": "o"}) == {**TRACE, **B3, "end-user": "jason"}


def test_page_takes_the_user_from_the_session_and_never_from_the_client() -> None:
    sent = forward.page_headers({**TRACE, "end-user": "mallory"}, "jason")
    assert sent == {**TRACE, "end-user": "jason"}
    assert "end-user" not in forward.page_headers({"end-user": "mallory"}, "")


def test_page_passes_b3_on_only_as_a_whole_and_without_parent_and_flags() -> None:
    assert forward.page_headers(B3, "") == {"x-b3-traceid": "1", "x-b3-spanid": "2", "x-b3-sampled": "1"}
    assert forward.page_headers({"x-b3-traceid": "1"}, "") == {}


def test_get_returns_status_and_body() -> None:
    recorder = Recorder(Response(404, b"no", "text/plain"))
    with serving(recorder) as port:
        assert forward.get(f"http://127.0.0.1:{port}/a?b=c", {"x-request-id": "r"}, 5) == Reply(404, b"no")
    assert (recorder.requests[0].path, recorder.requests[0].query, recorder.requests[0].headers["x-request-id"]) == ("/a", {"b": "c"}, "r")


def test_silence_refusal_and_garbage_are_unreachable() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        with pytest.raises(Unreachable, match="timed out"):
            forward.get(f"http://127.0.0.1:{silent.getsockname()[1]}/", {}, 0.05)
        refused = silent.getsockname()[1]
    with pytest.raises(Unreachable):
        forward.get(f"http://127.0.0.1:{refused}/", {}, 1)


@pytest.mark.parametrize(
    ("environment", "url"),
    [
        ({}, "http://ratings:9080"),
        ({"SERVICES_DOMAIN": "shop"}, "http://ratings.shop:9080"),
        ({"RATINGS_HOSTNAME": "r", "RATINGS_SERVICE_PORT": "80"}, "http://r:80"),
    ],
)
def test_base_url_by_environment(environment: dict[str, str], url: str) -> None:
    assert forward.base_url(environment, "ratings") == url
