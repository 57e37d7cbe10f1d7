"""The runtime with real containers: start, output, exec, terminals, signals, and its end."""

import os
from pathlib import Path

import pytest
import trio

from mesh.sandbox import linux
from mesh.sandbox.node.commands import run_command
from mesh.sandbox.node.runtimeclient import RuntimeFailure
from tests.support.node_runtime import runtime

pytestmark = [pytest.mark.root, pytest.mark.skipif(os.geteuid() != 0, reason="needs root (namespaces, mounts)")]


async def test_a_container_sees_its_own_world_and_leaves_the_host_alone(tmp_path: Path) -> None:
    async with runtime(tmp_path) as box:
        script = "id -u; echo $$; cat /etc/hostname; ls /run /tmp | grep -vc :; touch /usr/x; echo up >/tmp/x && cat /tmp/x; echo out >/dev/stdout; exit 3"
        await box.start(script)
        end = await box.client.wait("u/c/0")
        found = [line for line in box.output().splitlines() if not line.startswith("touch:")]
        assert (end.code, found) == (3, ["1337", "1", "box", "1", "up", "out"])  # one blank line between two empty listings
        assert not Path("/usr/x").exists() and not Path("/tmp/x").exists()
        await box.client.forget("u/c/0")
        assert await box.client.containers() == {}


async def test_a_command_joins_the_container(tmp_path: Path) -> None:
    async with runtime(tmp_path) as box:
        await box.start("sleep 1000")
        assert await run_command(box.client, "u/c/0", ["sh", "-c", "echo $WHO; id -u; exit 4"]) == (4, "me\n1337\n")
        with pytest.raises(RuntimeFailure, match='exec: "nosuch": executable file not found'):
            await run_command(box.client, "u/c/0", ["nosuch"])
        with trio.move_on_after(0.05) as scope:
            await run_command(box.client, "u/c/0", ["sleep", "1000"])
        assert scope.cancelled_caught  # and the command was killed: it is not in the container any more
        while "sleep 1000\nsleep" in (await run_command(box.client, "u/c/0", ["sh", "-c", "cat /proc/[0-9]*/comm"]))[1]:
            pass


async def test_a_terminal_is_the_containers(tmp_path: Path) -> None:
    async with runtime(tmp_path) as box:
        await box.start("sleep 1000")
        execution = await box.client.execute("u/c/0", ["sh", "-c", "tty; read line; echo got $line"], None)
        assert execution.master is not None
        async with trio.lowlevel.FdStream(execution.master) as terminal:
            await terminal.send_all(b"hello\n")
            text = b""
            while b"got hello" not in text:
                text += await terminal.receive_some(1000)
            end = await box.client.wait(execution.number)  # before the terminal is closed, which would hang up on the shell
        assert b"/dev/pts/0" in text and end.code == 0


async def test_a_command_that_is_not_there_is_named(tmp_path: Path) -> None:
    async with runtime(tmp_path) as box:
        with pytest.raises(RuntimeFailure, match='exec: "/none": no such file'):
            await box.start("", argv=["/none"])
        assert await box.client.containers() == {}


async def test_a_second_container_may_join_the_processes_of_the_first(tmp_path: Path) -> None:
    async with runtime(tmp_path) as box:
        await box.start("", argv=["sleep", "1000"])
        await box.start("", argv=["sleep", "1000"], id="u/d/0", target="u/c/0", log=str(tmp_path / "logs" / "d.log"), directory=str(tmp_path / "d"))
        assert await run_command(box.client, "u/d/0", ["cat", "/proc/1/comm", "/proc/2/comm"]) == (0, "sleep\nsleep\n")
        await box.client.signal("u/c/0", 9)
        # The kernel ends everybody in the namespace of a first process that ends.
        assert [(await box.client.wait(name)).signal for name in ("u/c/0", "u/d/0")] == [9, 9]
        with pytest.raises(RuntimeFailure, match="u/c/0 is not running"):
            await box.start("true", id="u/e/0", target="u/c/0")


async def test_a_read_only_root_takes_no_writes(tmp_path: Path) -> None:
    async with runtime(tmp_path) as box:
        await box.start("touch /tmp/x 2>/dev/null || echo refused", read_only_root=True)
        await box.client.wait("u/c/0")
        assert box.output() == "refused\n"


async def test_an_attached_reader_sees_what_comes_and_feeds_stdin(tmp_path: Path) -> None:
    async with runtime(tmp_path) as box:
        await box.start("while read line; do echo got $line; done", stdin=True)
        read, write = os.pipe()
        stdin = await box.client.attach("u/c/0", stdin=True, outputs={"stdout": write})
        os.close(write)
        assert stdin is not None
        os.write(stdin, b"one\n")
        async with trio.lowlevel.FdStream(read) as stream:
            assert await stream.receive_some(100) == b"got one\n"
            os.write(stdin, b"two\n")
            assert await stream.receive_some(100) == b"got two\n"
        os.close(stdin)
        assert (await box.client.containers())["u/c/0"].exit is None
        assert box.output() == "got one\ngot two\n"


async def test_containers_die_with_the_runtime(tmp_path: Path) -> None:
    with pytest.RaisesGroup(RuntimeFailure):
        async with runtime(tmp_path) as box:
            await box.start("sleep 1000")
            pid = (await box.client.containers())["u/c/0"].pid
            pidfd = os.pidfd_open(pid)
            box.process.kill()
            await trio.lowlevel.wait_readable(pidfd)
            os.close(pidfd)
            assert linux.start_time(pid) is None
            await trio.sleep_forever()
