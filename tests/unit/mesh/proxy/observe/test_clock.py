import pytest

from mesh.proxy.match import CompileError
from mesh.proxy.observe.clock import WALL, WallClock, start_time_getter
from mesh.proxy.operators import parse
from tests.support.observe import record

MOMENT = 1_700_000_000.25


def clock(offset: float) -> WallClock:
    return WallClock(ticks=lambda: 0.0, wall=lambda: offset)


def test_moments_become_iso_times() -> None:
    found = clock(MOMENT)
    texts = [found.iso_milliseconds(moment) for moment in (0.0, 0.5, 0.75, 0.0004)]
    assert texts == [
        "2023-11-14T22:13:20.250Z",
        "2023-11-14T22:13:20.750Z",
        "2023-11-14T22:13:21.000Z",
        "2023-11-14T22:13:20.250Z",
    ]


def test_a_stepped_clock_is_noticed_when_asked() -> None:
    times = iter([100.0, 200.0])
    found = WallClock(ticks=lambda: 10.0, wall=lambda: next(times))
    assert found.epoch(10.0) == 100.0
    found.adjust()
    assert found.epoch(10.0) == 200.0


def test_another_clock_for_records() -> None:
    # trio's clock starts somewhere else; `ticks` is what threads may read.
    found = WallClock(ticks=lambda: 10.0, wall=lambda: 100.0)
    found.use(lambda: 5_000.0)
    assert found.epoch(5_001.0) == 101.0


@pytest.mark.parametrize(
    ("argument", "expected"),
    [("%Y-%m-%d %H:%M:%S", "2023-11-14 22:13:20"), ("%s.%3f", "1700000000.250"), ("%6f", "250000"), ("%f", "250000000")],
)
def test_formats(argument: str, expected: str, monkeypatch: pytest.MonkeyPatch) -> None:
    item = record(started_at=1.0)
    monkeypatch.setattr(WALL, "offset", MOMENT - 1.0)
    assert start_time_getter(argument, "f")(item) == expected
    getter = parse(f"%START_TIME({argument})%", "f")[0]
    assert not isinstance(getter, str) and getter(item) == expected


def test_the_plain_operator_is_iso(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(WALL, "offset", MOMENT - 1.0)
    assert start_time_getter(None, "f")(record(started_at=1.0)) == "2023-11-14T22:13:20.250Z"


def test_an_operator_that_is_cut_short_is_refused() -> None:
    with pytest.raises(CompileError):
        parse("%START_TIME(%Y)", "f")
