import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from mesh.proxy.observe.log_writer import LogWriter


def test_lines_are_written_in_order(tmp_path: Path) -> None:
    path = tmp_path / "log"
    writer = LogWriter(str(path), gather_seconds=0.0)
    for number in range(500):
        writer.write(b"%d\n" % number)
    writer.close()
    assert path.read_bytes() == b"".join(b"%d\n" % number for number in range(500))
    assert (writer.written, writer.dropped) == (500, 0)


def test_a_line_comes_out_without_a_second_one() -> None:
    reading, writing = os.pipe()
    writer = LogWriter(f"/proc/self/fd/{writing}")
    writer.write(b"hello\n")
    with os.fdopen(reading, "rb", buffering=0) as file:
        assert file.read(100) == b"hello\n"
    os.close(writing)
    writer.close()


def test_a_pipe_that_nobody_reads_costs_only_lines() -> None:
    reading, writing = os.pipe()
    writer = LogWriter(f"/proc/self/fd/{writing}", max_bytes=200_000, gather_seconds=0.0)
    line = b"x" * 999 + b"\n"
    for _ in range(1_000):
        writer.write(line)
    # The pipe holds 64 KiB and the buffer 200,000 bytes; one batch of at most 200,000 may be under way.
    assert writer.dropped >= 500
    received = bytearray()
    reader = threading.Thread(target=lambda: received.extend(_read_all(reading)))
    reader.start()
    writer.close()
    os.close(writing)
    reader.join()
    assert len(received) == 1_000 * (1_000 - writer.dropped) == 1_000 * writer.written


def _read_all(descriptor: int) -> bytes:
    with os.fdopen(descriptor, "rb") as file:
        return file.read()


def test_what_cannot_be_written_is_counted_and_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    writer = LogWriter(str(tmp_path / "missing" / "log"), gather_seconds=0.0)
    writer.write(b"a\n")
    writer.close()
    assert (writer.written, writer.dropped) == (0, 1)
    assert "1 lines lost" in caplog.text


def test_closing_without_a_line_does_nothing(tmp_path: Path) -> None:
    writer = LogWriter(str(tmp_path / "log"))
    writer.close()
    assert not (tmp_path / "log").exists()


_AS_ANOTHER_USER = """
import os, sys
from mesh.proxy.observe.log_writer import LogWriter
if os.getuid() == 0:
    os.setuid(65534)
writer = LogWriter(sys.argv[1])
writer.write(b"hello\\n")
writer.close()
sys.exit(writer.dropped)
"""


@pytest.mark.parametrize("path", ["/dev/stdout", "/dev/stderr"])
def test_standard_output_need_not_be_ours(path: str) -> None:
    # A pipe made by somebody else cannot be opened by its name in /dev.
    done = subprocess.run([sys.executable, "-c", _AS_ANOTHER_USER, path], capture_output=True, check=False)
    assert (done.returncode, done.stdout + done.stderr) == (0, b"hello\n")


def test_a_non_blocking_pipe_is_waited_for() -> None:
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    stdout = os.dup(1)
    os.dup2(writing, 1)
    try:
        writer = LogWriter("/dev/stdout", gather_seconds=0.0)
        for _ in range(300):
            writer.write(b"x" * 999 + b"\n")
        received = bytearray()
        reader = threading.Thread(target=lambda: received.extend(_read_all(reading)))
        reader.start()
        writer.close()
    finally:
        os.dup2(stdout, 1)
        os.close(stdout)
        os.close(writing)
    reader.join()
    assert (len(received), writer.dropped) == (300_000, 0)
