"""A container's output: its log file, its rotation, and readers that come and go."""

import os
import select
from collections.abc import Iterator
from pathlib import Path

import pytest

from mesh.sandbox.node import containerlog
from mesh.sandbox.node.containerlog import ContainerLog, LogStream
from mesh.sandbox.node.crilog import decode
from mesh.sandbox.node.poller import Poller


class Output:
    """A stream of a container, fed by hand."""

    def __init__(self, path: Path) -> None:
        self.poller, self.path = Poller(), path
        self.log = ContainerLog(str(path))
        read, self.pipe = os.pipe()
        os.set_blocking(read, False)
        self.stream = LogStream(self.poller, read, "stdout", self.log)
        self.poller.register(read, select.EPOLLIN, self.stream.on_readable)

    def say(self, data: bytes) -> None:
        os.write(self.pipe, data)
        self.poller.poll(5)

    def attach(self) -> int:
        read, write = os.pipe()
        os.set_blocking(read, False)
        self.log.attach("stdout", write)
        return read

    def lines(self) -> list[bytes]:
        return [decode(line).text for line in self.path.read_bytes().splitlines()]


@pytest.fixture
def output(tmp_path: Path) -> Iterator[Output]:
    made = Output(tmp_path / "logs" / "0.log")
    yield made
    made.log.close()
    os.close(made.pipe)
    made.poller.close()


def read_some(fd: int) -> bytes | None:
    """None when there is nothing yet."""
    try:
        return os.read(fd, 1 << 20)
    except BlockingIOError:
        return None


def test_lines_are_written_when_they_end_and_the_last_when_the_stream_does(output: Output) -> None:
    output.say(b"one\ntw")
    assert output.lines() == [b"one\n"]
    output.say(b"o\nrest")
    os.close(os.dup(output.pipe))
    output.stream.finish()
    assert output.lines() == [b"one\n", b"two\n", b"rest\n"]
    output.stream.finish()  # and nothing twice
    assert len(output.lines()) == 3


def test_an_old_log_is_continued(tmp_path: Path) -> None:
    path = tmp_path / "0.log"
    path.write_bytes(b"2026-01-01T00:00:00.000000000Z stdout F before\n")
    made = Output(path)
    made.say(b"after\n")
    assert made.lines() == [b"before\n", b"after\n"]
    made.log.close()
    os.close(made.pipe)


def test_a_full_log_moves_aside_once(output: Output, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(containerlog, "MAX_LOG_BYTES", 200)
    for number in range(10):
        output.say(b"%030d\n" % number)
    rotated = output.path.with_name("0.log.1")
    kept = [decode(line).text for line in rotated.read_bytes().splitlines()] + output.lines()
    assert kept == [b"%030d\n" % number for number in range(10 - len(kept), 10)]
    assert rotated.stat().st_size <= 200 and output.path.stat().st_size <= 200
    assert sorted(path.name for path in output.path.parent.iterdir()) == ["0.log", "0.log.1"]


def test_a_reader_sees_what_comes_after_it_and_its_going_stops_nothing(output: Output) -> None:
    output.say(b"before\n")
    first, second = output.attach(), output.attach()
    output.say(b"raw, not a line")
    assert [read_some(first), read_some(second)] == [b"raw, not a line"] * 2
    os.close(first)
    output.poller.poll(5)
    output.say(b"\nmore\n")
    assert read_some(second) == b"\nmore\n"
    assert output.lines() == [b"before\n", b"raw, not a line\n", b"more\n"]
    os.close(second)
    output.poller.poll(5)


def test_a_slow_reader_holds_the_container_back_until_it_reads_or_goes(output: Output) -> None:
    reader = output.attach()
    os.set_blocking(output.pipe, False)
    sent = 0
    while True:
        try:
            sent += os.write(output.pipe, b"x" * 4096)
        except BlockingIOError:
            break
        output.poller.poll(0)
        if sent > 4 << 20:
            break
    assert sent < 1 << 20  # two pipes and one chunk, and no more of it in memory
    received = 0
    while received < sent:
        received += len(read_some(reader) or b"")
        output.poller.poll(0)
    output.say(b"again\n")
    assert read_some(reader) == b"again\n"
    os.close(reader)
    output.poller.poll(5)
    output.say(b"alone\n")
    assert output.lines()[-1] == b"alone\n"


def test_an_end_is_an_end_for_readers_too(output: Output) -> None:
    reader = output.attach()
    os.write(output.pipe, b"last words")
    output.log.drain()
    output.stream.finish()
    assert [read_some(reader), read_some(reader)] == [b"last words", b""]
    late, write = os.pipe()
    output.log.attach("stdout", write)  # the stream is over: closed at once
    assert os.read(late, 1) == b""
    for fd in (reader, late):
        os.close(fd)
