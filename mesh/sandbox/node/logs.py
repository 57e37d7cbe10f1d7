"""Read container logs for `kubectl logs`, following them by inotify."""

import ctypes
import os
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import trio

from mesh.sandbox.node.crilog import Entry, decode, select

_IN_MODIFY, _IN_MOVE_SELF, _IN_NONBLOCK, _IN_CLOEXEC = 0x2, 0x800, 0o4000, 0o2000000
_libc = ctypes.CDLL(None, use_errno=True)


@dataclass(frozen=True, slots=True)
class LogOptions:
    """What is asked for. `tail` None = all; `limit` None = no limit in bytes."""

    follow: bool
    tail: int | None
    since: datetime | None
    timestamps: bool
    limit: int | None


def format_entry(entry: Entry, timestamps: bool) -> bytes:
    """A line as kubectl shows it."""
    return entry.stamp.encode() + b" " + entry.text if timestamps else entry.text


async def read_log(path: Path, options: LogOptions, ended: trio.Event) -> AsyncGenerator[bytes, None]:
    """Pieces of the log; with `follow` until `ended` is set and everything is read."""
    left = options.limit
    with _Watch(path) as watch:
        rotated = path.with_name(path.name + ".1")
        old = rotated.read_bytes().splitlines(keepends=True) if rotated.exists() else []
        with open(path, "rb") as file:
            lines = [*old, *_whole_lines(file.read())]
            offset = sum(map(len, lines)) - sum(map(len, old))
            entries = select(lines, since=options.since, tail=options.tail)
            first = b"".join(format_entry(entry, options.timestamps) for entry in entries)
        if left is not None:
            first, left = first[:left], left - len(first)
        if first:
            yield first
        while options.follow and (left is None or left > 0):
            finished = ended.is_set()
            file_size = path.stat().st_size if path.exists() else 0
            if file_size < offset:
                offset = 0  # a new file after a rotation
            with open(path, "rb") as file:
                file.seek(offset)
                fresh = _whole_lines(file.read(1 << 20))
            if fresh:
                offset += sum(map(len, fresh))
                piece = b"".join(format_entry(decode(line), options.timestamps) for line in fresh)
                if left is not None:
                    piece, left = piece[:left], left - len(piece)
                yield piece
            elif finished:
                return
            else:
                await _either(watch, ended)


def _whole_lines(data: bytes) -> list[bytes]:
    return [line for line in data.splitlines(keepends=True) if line.endswith(b"\n")]


async def _either(watch: "_Watch", ended: trio.Event) -> None:
    async with trio.open_nursery() as nursery:

        async def wait_end() -> None:
            await ended.wait()
            nursery.cancel_scope.cancel()

        nursery.start_soon(wait_end)
        await watch.changed()
        nursery.cancel_scope.cancel()


class _Watch:
    """inotify on one log file's directory entry. Closes: its descriptor, on exit."""

    def __init__(self, path: Path) -> None:
        self._fd: int = _libc.inotify_init1(_IN_NONBLOCK | _IN_CLOEXEC)
        if self._fd < 0:
            raise OSError(ctypes.get_errno(), "inotify_init1")
        # The directory, so that the file that follows a rotation is seen as well.
        if _libc.inotify_add_watch(self._fd, str(path.parent).encode(), _IN_MODIFY | _IN_MOVE_SELF) < 0:
            number = ctypes.get_errno()
            os.close(self._fd)
            raise OSError(number, os.strerror(number), str(path.parent))

    def __enter__(self) -> "_Watch":
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._fd)

    async def changed(self) -> None:
        """Wait until something was written."""
        await trio.lowlevel.wait_readable(self._fd)
        os.read(self._fd, 65536)
