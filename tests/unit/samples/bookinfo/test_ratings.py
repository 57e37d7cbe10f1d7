import json

import pytest

from samples.bookinfo.ratings import Ratings
from samples.bookinfo.web import Request
from tests.support.injector_bookinfo import get


class Clock:
    def __init__(self) -> None:
        self.now, self.slept = 100.0, list[float]()

    def __call__(self) -> float:
        return self.now


def service(version: str, clock: Clock, chance: float = 0.0) -> Ratings:
    return Ratings({"SERVICE_VERSION": version}, clock, lambda: chance, clock.slept.append)


def post(path: str, body: bytes) -> Request:
    return Request("POST", path, {}, {}, body)


def test_v1_answers_from_memory_and_remembers_what_is_posted() -> None:
    ratings = service("v1", Clock())
    assert json.loads(ratings.handle(get("/ratings/0")).body) == {"id": 0, "ratings": {"Reviewer1": 5, "Reviewer2": 4}}
    assert ratings.handle(post("/ratings/0", b'{"Reviewer1": 1}')).status == 200
    assert json.loads(ratings.handle(get("/ratings/0")).body)["ratings"] == {"Reviewer1": 1}
    assert json.loads(ratings.handle(get("/ratings/1")).body)["ratings"]["Reviewer1"] == 5


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b'{"a": "5"}', b'{"a": true}', b"7"])
def test_posted_junk_is_400(body: bytes) -> None:
    answer = service("v1", Clock()).handle(post("/ratings/0", body))
    assert (answer.status, json.loads(answer.body)) == (400, {"error": "please provide valid ratings JSON"})


@pytest.mark.parametrize(("path", "status"), [("/health", 200), ("/ratings/x", 400), ("/ratings/²", 400), ("/other/0", 404)])
def test_paths(path: str, status: int) -> None:
    assert service("v1", Clock()).handle(get(path)).status == status


@pytest.mark.parametrize(("chance", "status"), [(0.49, 503), (0.5, 200)])
def test_v_faulty_fails_half_of_the_requests(chance: float, status: int) -> None:
    assert service("v-faulty", Clock(), chance).handle(get("/ratings/0")).status == status


@pytest.mark.parametrize(("chance", "slept"), [(0.49, [7.0]), (0.5, [])])
def test_v_delayed_delays_half_by_seven_seconds(chance: float, slept: list[float]) -> None:
    clock = Clock()
    assert service("v-delayed", clock, chance).handle(get("/ratings/0")).status == 200
    assert clock.slept == slept


@pytest.mark.parametrize(("version", "period", "health"), [("v-unavailable", 60, 200), ("v-unhealthy", 900, 500)])
def test_flipping_versions_are_on_then_off_then_on(version: str, period: float, health: int) -> None:
    clock = Clock()
    ratings = service(version, clock)
    seen = []
    for _ in range(3):
        seen.append((ratings.handle(get("/ratings/0")).status, ratings.handle(get("/health")).status))
        clock.now += period
    assert seen == [(200, 200), (503, health), (200, 200)]


def test_v2_does_not_take_posts_and_says_when_its_database_is_away() -> None:
    ratings = Ratings({"SERVICE_VERSION": "v2", "MONGO_DB_URL": "mongodb://127.0.0.1:1/test"})
    assert ratings.handle(post("/ratings/0", b"{}")).status == 501
    assert ratings.handle(get("/ratings/0")).status == 500
