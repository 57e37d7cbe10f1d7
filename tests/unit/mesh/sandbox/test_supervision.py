"""What the supervising process runs, and what it writes down."""

import json
import os
import signal
from pathlib import Path

import pytest
import trio
import trio.testing

from mesh.sandbox import supervision
from mesh.sandbox.attachment import SCHEDULER, Attachment
from mesh.sandbox.daemons import Program
from mesh.sandbox.layout import Layout
from mesh.sandbox.supervision import Supervisor


def test_the_last_words_of_a_daemon(tmp_path: Path) -> None:
    log = tmp_path / "log"
    assert supervision._last_line(log) == "it said nothing"
    log.write_text("one\nthe reason\n \n")
    assert supervision._last_line(log) == "the reason"


@pytest.mark.parametrize(
    ("controllers", "programs", "only"),
    [
        (None, ["apiserver", "runtime", "forward", "controllers", "node"], None),
        (("workloads", "garbage", SCHEDULER), ["runtime", "forward", "controllers", "node"], "workloads,garbage"),
        ((), ["runtime", "forward", "node"], None),
    ],
)
def test_an_attached_sandbox_runs_what_its_cluster_lacks(tmp_path: Path, controllers: tuple[str, ...] | None, programs: list[str], only: str | None) -> None:
    layout = Layout("a", tmp_path)
    if controllers is not None:
        Attachment("https://127.0.0.1:1", controllers).write(layout.attachment_file)
    made = {program.name: program for program in Supervisor(layout, -1)._programs([7, 8])}
    assert list(made) == programs
    words = " ".join(word for program in made.values() for word in program.arguments)
    assert (f"--only {only}" in words) is (only is not None)
    assert ("--no-scheduler" in words) is (controllers is not None and SCHEDULER not in controllers)
    assert ("--listen-fd 7 --listen-fd 8" in words) is (controllers is None)


async def test_the_record_follows_a_daemon_that_is_started_again(tmp_path: Path, nursery: trio.Nursery, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who reads supervisor.json finds the process that runs now."""
    layout = Layout("a", tmp_path)
    layout.logs.mkdir()
    (tmp_path / "fake_daemon.py").write_text("import time\nprint('ready', flush=True)\ntime.sleep(1000)\n")
    monkeypatch.setattr(supervision, "checkout", lambda: Path(f"{tmp_path}:{Path(__file__).parents[4]}"))
    daemon = Supervisor(layout, -1).daemon(Program("d", ("fake_daemon",), ""))

    def recorded() -> tuple[int, bool]:
        (found,) = json.loads(layout.supervisor_file.read_text())["daemons"]
        return found["pid"], found["ready"]

    nursery.start_soon(daemon.run)
    with trio.fail_after(20):
        await trio.testing.wait_all_tasks_blocked()
        await daemon.ready.wait()
        first = daemon.pid
        assert recorded() == (first, True)
        os.kill(first, signal.SIGKILL)
        while daemon.restarts == 0 or not daemon.ready.is_set():
            await trio.testing.wait_all_tasks_blocked()
        assert daemon.pid != first and recorded() == (daemon.pid, True)
        await daemon.stop(5.0)
        await trio.testing.wait_all_tasks_blocked()
    assert recorded() == (0, False)
