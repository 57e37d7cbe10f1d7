import json
from typing import Any

import pytest

from samples.bookinfo.reviews import Reviews
from samples.bookinfo.web import Response
from tests.support.injector_bookinfo import Recorder, get, serving

RATINGS = Response(200, b'{"id": 0, "ratings": {"Reviewer1": 5, "Reviewer2": 4}}')
UNAVAILABLE = {"error": "Ratings service is currently unavailable"}


def ask(environment: dict[str, str], response: Response, path: str = "/reviews/0") -> tuple[dict[str, Any], Recorder]:
    recorder = Recorder(response)
    with serving(recorder) as port:
        service = Reviews({"RATINGS_HOSTNAME": "127.0.0.1", "RATINGS_SERVICE_PORT": str(port), "HOSTNAME": "pod-a", **environment})
        answer = service.handle(get(path, {"end-user": "jason", "x-other": "o"}))
    return json.loads(answer.body), recorder


@pytest.mark.parametrize("environment", [{}, {"SERVICE_VERSION": "v1"}, {"ENABLE_RATINGS": "false", "SERVICE_VERSION": "v2"}])
def test_v1_has_no_ratings_and_calls_nobody(environment: dict[str, str]) -> None:
    body, recorder = ask(environment, RATINGS)
    assert [set(review) for review in body["reviews"]] == [{"reviewer", "text"}] * 2
    assert (body["id"], body["podname"]) == ("0", "pod-a")
    assert recorder.requests == []


@pytest.mark.parametrize(
    ("environment", "color"),
    [({"SERVICE_VERSION": "v2"}, "black"), ({"SERVICE_VERSION": "v3"}, "red"), ({"ENABLE_RATINGS": "true", "STAR_COLOR": "red"}, "red")],
)
def test_v2_and_v3_have_coloured_stars(environment: dict[str, str], color: str) -> None:
    body, recorder = ask(environment, RATINGS, "/reviews/7")
    assert [review["rating"] for review in body["reviews"]] == [{"stars": 5, "color": color}, {"stars": 4, "color": color}]
    assert recorder.requests[0].path == "/ratings/7"
    assert recorder.requests[0].headers["end-user"] == "jason"
    assert "x-other" not in recorder.requests[0].headers


@pytest.mark.parametrize(
    "response", [Response(500, b"{}"), Response(200, b"no json"), Response(200, b"[]"), Response(200, b'{"ratings": 7}'), Response(200, b'{"ratings": {}}')]
)
def test_reviews_come_without_stars_when_ratings_fail(response: Response) -> None:
    body, _ = ask({"SERVICE_VERSION": "v2"}, response)
    assert [review["rating"] for review in body["reviews"]] == [UNAVAILABLE] * 2


def test_waiting_for_black_stars_outlasts_productpage_and_for_red_ones_does_not() -> None:
    assert Reviews({"SERVICE_VERSION": "v2"})._timeout_seconds == 10.0
    assert Reviews({"SERVICE_VERSION": "v3"})._timeout_seconds == 2.5


@pytest.mark.parametrize(("path", "status"), [("/health", 200), ("/reviews/x", 404), ("/", 404)])
def test_other_paths(path: str, status: int) -> None:
    assert Reviews({}).handle(get(path)).status == status
