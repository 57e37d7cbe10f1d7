"""Commands run in a container for probes and hooks."""

import os
from pathlib import Path

import pytest
import trio

from mesh.sandbox.node.commands import MAX_OUTPUT_BYTES, run_command
from mesh.sandbox.node.runtimeclient import RuntimeFailure
from tests.support.node_runtime import runtime

pytestmark = [pytest.mark.root, pytest.mark.skipif(os.geteuid() != 0, reason="needs root (namespaces, mounts)")]


async def test_both_outputs_come_together_with_the_exit_code(tmp_path: Path) -> None:
    async with runtime(tmp_path) as box:
        await box.start("exec sleep 1000")
        assert await run_command(box.client, "u/c/0", ["sh", "-c", "echo out; echo err >&2; cat; exit 5"]) == (5, "out\nerr\n")
        assert await run_command(box.client, "u/c/0", ["sh", "-c", "kill -9 $$"]) == (137, "")


async def test_only_the_beginning_of_a_long_output_is_kept_and_all_of_it_read(tmp_path: Path) -> None:
    async with runtime(tmp_path) as box:
        await box.start("exec sleep 1000")
        code, text = await run_command(box.client, "u/c/0", ["sh", "-c", "head -c 300000 /dev/zero | tr '\\0' x; exit 2"])
        assert (code, text) == (2, "x" * MAX_OUTPUT_BYTES)


async def test_a_command_that_is_given_up_is_killed(tmp_path: Path) -> None:
    async with runtime(tmp_path) as box:
        await box.start("exec sleep 1000")
        read, write = os.pipe()
        with trio.CancelScope() as scope:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(run_command, box.client, "u/c/0", ["sh", "-c", "echo $$ >/tmp/pid; exec sleep 1000"])
                while (await run_command(box.client, "u/c/0", ["test", "-s", "/tmp/pid"]))[0]:
                    pass
                scope.cancel()
        os.close(read)
        os.close(write)
        while (await run_command(box.client, "u/c/0", ["sh", "-c", "kill -0 $(cat /tmp/pid)"]))[0] == 0:
            pass


async def test_a_container_that_is_not_there_is_a_failure(tmp_path: Path) -> None:
    async with runtime(tmp_path) as box:
        with pytest.raises(RuntimeFailure, match="u/c/0 is not running"):
            await run_command(box.client, "u/c/0", ["true"])
