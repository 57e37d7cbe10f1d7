"""Starting and restarting daemons, with real processes."""

import os
import signal
from pathlib import Path

import trio

from mesh.sandbox.daemons import STATE_VARIABLE, Daemon, Program, environment


def test_the_environment_is_clean_and_names_the_sandbox() -> None:
    found = environment(Path("/s/demo"), Path("/src"), {"PATH": "/bin", "SECRET": "x", "HOME": "/home/me"})
    assert found[STATE_VARIABLE] == "/s/demo" and found["PYTHONPATH"] == "/src"
    assert found["PATH"].endswith(":/bin") and "SECRET" not in found


async def test_a_daemon_that_is_killed_comes_back(tmp_path: Path, nursery: trio.Nursery) -> None:
    (tmp_path / "logs").mkdir()
    (tmp_path / "fake_daemon.py").write_text("import time\nprint('ready', flush=True)\ntime.sleep(1000)\n")
    source = Path(__file__).parents[4]
    daemon = Daemon(Program("d", ("fake_daemon",), ""), tmp_path, Path(f"{tmp_path}:{source}"))
    nursery.start_soon(daemon.run)
    with trio.fail_after(20):
        await trio.testing.wait_all_tasks_blocked()
        await daemon.ready.wait()
        first = daemon.pid
        os.kill(first, signal.SIGKILL)
        while daemon.restarts == 0 or not daemon.ready.is_set():
            await trio.testing.wait_all_tasks_blocked()
        assert daemon.pid != first and daemon.last_exit == "signal 9"
        await daemon.stop(5.0)
        assert daemon.stopping
