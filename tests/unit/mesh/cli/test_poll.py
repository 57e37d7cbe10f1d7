"""When the poller asks, and when it gives up."""

import pytest

from mesh.cli.poll import poll


class Clock:
    def __init__(self) -> None:
        self.time = 100.0
        self.pauses: list[float] = []

    def now(self) -> float:
        return self.time

    def pause(self, seconds: float) -> None:
        self.pauses.append(seconds)
        self.time += seconds


def polled(answers: list[int], seconds: float, ask_seconds: float = 0.0) -> tuple[int, list[float]]:
    clock, waiting = Clock(), iter(answers)

    def ask() -> int:
        clock.time += ask_seconds
        return next(waiting)

    return poll(ask, lambda answer: answer == 7, seconds, clock.now, clock.pause), clock.pauses


def test_the_first_answer_that_holds_ends_it_without_a_pause() -> None:
    assert polled([7, 1], 10) == (7, [])


def test_pauses_double_up_to_half_a_second() -> None:
    assert polled([1, 2, 3, 4, 5, 6, 7], 10) == (7, [0.05, 0.1, 0.2, 0.4, 0.5, 0.5])


def test_the_last_pause_ends_at_the_deadline_and_the_last_answer_is_told() -> None:
    answer, pauses = polled([1, 2, 3], 0.125)
    assert (answer, pauses) == (3, pytest.approx([0.05, 0.075]))


def test_it_asks_once_when_there_is_no_time() -> None:
    assert polled([1], 0, ask_seconds=2) == (1, [])
