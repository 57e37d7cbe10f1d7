"""Run a command in a container and collect what it says: exec probes and hooks."""

import os

import trio

from mesh.sandbox.node.runtimeclient import RuntimeClient

MAX_OUTPUT_BYTES = 10 * 1024
"""kubelet keeps this much of a probe's output (maxRespBodyLength)."""


async def run_command(runtime: RuntimeClient, container: str, argv: list[str]) -> tuple[int, str]:
    """(exit code, beginning of stdout and stderr together). A cancelled caller kills the command.

    Raises: RuntimeFailure: the container is not running, or the command is not there.
    """
    with open(os.devnull, "rb") as null:
        read, write = os.pipe()
        try:
            execution = await runtime.execute(container, argv, (null.fileno(), write, write))
        except BaseException:
            os.close(read)
            raise
        finally:
            os.close(write)
    output = bytearray()
    try:
        async with trio.lowlevel.FdStream(read) as stream:
            async for chunk in stream:
                output += chunk[: MAX_OUTPUT_BYTES - len(output)]
        end = await runtime.wait(execution.number)
    except trio.Cancelled:
        with trio.CancelScope(shield=True):
            await runtime.signal(execution.number, 9)
        raise
    return end.code, output.decode(errors="replace")
