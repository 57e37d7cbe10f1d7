"""Handlers of ready descriptors."""

import os
import select
from collections.abc import Iterator

import pytest

from mesh.sandbox.node.poller import Poller


@pytest.fixture
def poller() -> Iterator[Poller]:
    made = Poller()
    yield made
    made.close()


def test_only_the_ready_are_called_and_only_for_what_they_wait_for(poller: Poller) -> None:
    read, write = os.pipe()
    idle_read, idle_write = os.pipe()
    seen: list[tuple[str, int]] = []
    poller.register(read, select.EPOLLIN, lambda events: seen.append(("read", events)))
    poller.register(write, 0, lambda events: seen.append(("write", events)))
    poller.register(idle_read, select.EPOLLIN, lambda events: seen.append(("idle", events)))
    os.write(write, b"x")
    poller.poll(5)
    assert seen == [("read", select.EPOLLIN)]
    poller.modify(read, 0)
    poller.modify(write, select.EPOLLOUT)
    poller.poll(5)
    assert seen[1:] == [("write", select.EPOLLOUT)]
    for fd in (read, write, idle_read, idle_write):
        os.close(fd)


def test_a_handler_may_unregister_another_that_is_ready_too(poller: Poller) -> None:
    pipes = [os.pipe() for _ in range(2)]
    called: list[int] = []

    def take(own: int, other: int) -> None:
        if not called:
            poller.unregister(other)
        called.append(own)

    (first, one), (second, two) = pipes
    poller.register(first, select.EPOLLIN, lambda _: take(first, second))
    poller.register(second, select.EPOLLIN, lambda _: take(second, first))
    for fd in (one, two):
        os.write(fd, b"x")
    poller.poll(5)
    poller.poll(0)
    assert len(set(called)) == 1
    for pipe in pipes:
        for fd in pipe:
            os.close(fd)
