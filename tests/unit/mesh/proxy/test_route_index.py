import pytest

from mesh.model.match import HeaderMatch, PathKind, PathMatch, RouteMatch
from mesh.model.route import DirectResponse, Route
from mesh.proxy.compiled_route import CompiledRoute
from mesh.proxy.route_index import RouteIndex
from tests.support.observe import head

FILLER = [PathMatch(PathKind.EXACT, f"/filler/{number}") for number in range(20)]


def index(*paths: PathMatch | RouteMatch, filler: list[PathMatch] = FILLER) -> RouteIndex:
    """Routes named by their position, followed by enough others for the index to be used."""
    matches = [item if isinstance(item, RouteMatch) else RouteMatch(item) for item in (*paths, *filler)]
    return RouteIndex(
        [CompiledRoute(Route(match, DirectResponse(200), str(order)), order, "v", "f") for order, match in enumerate(matches)]
    )


def found(routes: RouteIndex, path: str, **headers: str) -> str | None:
    route = routes.find(head("GET", path, "h", **headers))
    return route.name if route is not None else None


EXACT, PREFIX = PathMatch(PathKind.EXACT, "/a/b"), PathMatch(PathKind.PREFIX, "/a")
SEGMENT, REGEX = PathMatch(PathKind.SEGMENT_PREFIX, "/a"), PathMatch(PathKind.REGEX, "/a.*")
NO_CASE, ANY = PathMatch(PathKind.PREFIX, "/A", True), PathMatch()


@pytest.mark.parametrize("first", [EXACT, PREFIX, SEGMENT, REGEX, NO_CASE, ANY])
@pytest.mark.parametrize("second", [EXACT, PREFIX, SEGMENT, REGEX, NO_CASE, ANY])
def test_the_first_of_two_that_match_wins(first: PathMatch, second: PathMatch) -> None:
    assert found(index(first, second), "/a/b") == "0"


def test_the_second_serves_when_the_first_does_not_match() -> None:
    picky = RouteMatch(EXACT, (HeaderMatch("x"),))
    routes = index(picky, PREFIX)
    assert [found(routes, "/a/b"), found(routes, "/a/b", x="1")] == ["1", "0"]


def test_prefixes_of_every_length_are_candidates() -> None:
    routes = index(PathMatch(PathKind.PREFIX, "/a/b/c"), PathMatch(PathKind.PREFIX, "/a/b"), PREFIX)
    assert [found(routes, path) for path in ("/a/b/c", "/a/b/x", "/a", "/")] == ["0", "1", "2", None]


def test_a_short_list_is_walked() -> None:
    routes = index(EXACT, ANY, filler=[])
    assert [found(routes, "/a/b"), found(routes, "/x")] == ["0", "1"]


def test_a_big_table_looks_at_few_routes() -> None:
    asked = 0

    class Counting(CompiledRoute):
        def matches(self, item: object) -> bool:
            nonlocal asked
            asked += 1
            return super().matches(item)  # type: ignore[arg-type]

    matches = [RouteMatch(PathMatch(PathKind.EXACT, f"/{number}")) for number in range(5_000)]
    routes = RouteIndex([Counting(Route(match, DirectResponse(200)), order, "v", "f") for order, match in enumerate(matches)])
    assert routes.find(head("GET", "/4999")) is not None
    assert asked == 1
