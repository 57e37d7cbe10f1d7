"""Container logs in CRI's format: `<RFC 3339 nanoseconds> <stdout|stderr> <F|P> <text>`.

Source: Kubernetes design "kubelet: CRI logging". F = a full line, P = a part of a line longer than 16 KiB.
"""

import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime

MAX_LINE_BYTES = 16 * 1024
"""containerd's limit: a longer line is written in parts."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One decoded log line. `text` ends with a newline unless it is a part."""

    stamp: str
    stream: str
    text: bytes


class Splitter:
    """Cuts one stream's bytes into log lines; what has no newline yet waits for it."""

    def __init__(self, stream: str) -> None:
        self._full = f" {stream} F ".encode()
        self._part = f" {stream} P ".encode()
        self._rest = b""

    def feed(self, data: bytes, stamp: bytes) -> bytes:
        """The log bytes for `data`, with `stamp` on each line."""
        lines = (self._rest + data).split(b"\n")
        self._rest = lines.pop()
        out = [piece for line in lines for piece in self._encode(line, stamp)]
        while len(self._rest) >= MAX_LINE_BYTES:
            out += [stamp, self._part, self._rest[:MAX_LINE_BYTES], b"\n"]
            self._rest = self._rest[MAX_LINE_BYTES:]
        return b"".join(out)

    def finish(self, stamp: bytes) -> bytes:
        """The last line, when it had no newline."""
        rest, self._rest = self._rest, b""
        return b"".join(self._encode(rest, stamp)) if rest else b""

    def _encode(self, line: bytes, stamp: bytes) -> Iterator[bytes]:
        while len(line) > MAX_LINE_BYTES:
            yield from (stamp, self._part, line[:MAX_LINE_BYTES], b"\n")
            line = line[MAX_LINE_BYTES:]
        yield from (stamp, self._full, line, b"\n")


def now_stamp() -> bytes:
    """The present time as a log line shows it."""
    nanoseconds = time.time_ns()
    seconds, rest = divmod(nanoseconds, 1_000_000_000)
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds)).encode() + b".%09dZ" % rest


def decode(line: bytes) -> Entry:
    """Parse one line (with or without its newline).

    Raises: ValueError: it is not a CRI log line.
    """
    stamp, stream, tag, text = line.rstrip(b"\n").split(b" ", 3)
    return Entry(stamp.decode(), stream.decode(), text + b"\n" if tag == b"F" else text)


def select(lines: Iterable[bytes], *, since: datetime | None, tail: int | None) -> list[Entry]:
    """The entries that `kubectl logs --since --tail` asks for; `tail` counts full lines, None = all."""
    entries = [decode(line) for line in lines]
    if since is not None:
        entries = [entry for entry in entries if parse_stamp(entry.stamp) >= since]
    if tail is None:
        return entries
    start, wanted = len(entries), tail
    while start > 0:
        if entries[start - 1].text.endswith(b"\n"):
            if wanted == 0:
                break
            wanted -= 1
        start -= 1
    return entries[start:]


def parse_stamp(stamp: str) -> datetime:
    """The time of a log line, cut to microseconds."""
    return datetime.strptime(stamp[:26], "%Y-%m-%dT%H:%M:%S.%f").replace(tzinfo=UTC)
