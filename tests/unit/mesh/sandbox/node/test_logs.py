"""Reading and following container logs."""

from pathlib import Path

import trio

from mesh.sandbox.node.crilog import Splitter
from mesh.sandbox.node.logs import LogOptions, read_log

STAMP = b"2026-01-02T03:04:05.000000006Z"


def lines(*texts: str) -> bytes:
    splitter = Splitter("stdout")
    return b"".join(splitter.feed(text.encode() + b"\n", STAMP) for text in texts)


def options(**changed: object) -> LogOptions:
    values = {"follow": False, "tail": None, "since": None, "timestamps": False, "limit": None, **changed}
    return LogOptions(**values)  # type: ignore[arg-type]


async def whole(path: Path, wanted: LogOptions) -> bytes:
    ended = trio.Event()
    ended.set()
    return b"".join([piece async for piece in read_log(path, wanted, ended)])


async def test_rotated_lines_come_first_and_limits_count(tmp_path: Path) -> None:
    path = tmp_path / "0.log"
    path.with_name("0.log.1").write_bytes(lines("a"))
    path.write_bytes(lines("b", "c"))
    assert await whole(path, options()) == b"a\nb\nc\n"
    assert await whole(path, options(tail=2)) == b"b\nc\n"
    assert await whole(path, options(limit=3)) == b"a\nb"
    assert await whole(path, options(tail=1, timestamps=True)) == STAMP + b" c\n"


async def test_followers_see_lines_as_they_are_written_over_a_rotation(tmp_path: Path) -> None:
    path, ended = tmp_path / "0.log", trio.Event()
    path.write_bytes(lines("first line, longer than what follows"))
    seen: list[bytes] = []
    arrived = trio.Event()

    async def follow() -> None:
        async for piece in read_log(path, options(follow=True, tail=0), ended):
            seen.append(piece)
            arrived.set()

    with trio.fail_after(10):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(follow)
            await trio.testing.wait_all_tasks_blocked()
            with open(path, "ab") as file:
                file.write(lines("two"))
            await arrived.wait()
            path.rename(path.with_name("0.log.1"))
            arrived = trio.Event()
            path.write_bytes(lines("x"))
            await arrived.wait()
            ended.set()
    assert seen == [b"two\n", b"x\n"]
