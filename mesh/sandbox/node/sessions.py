"""exec and attach over channels (trio). `exit_status` is pure.

Source: Kubernetes remotecommand v4/v5: the error channel ends with a Status in JSON.
"""

import fcntl
import json
import os
import struct
import termios
from collections.abc import Mapping
from typing import Any

import trio

from mesh.sandbox.node.channels import Channel
from mesh.sandbox.node.runtimeclient import RuntimeClient, RuntimeFailure

Json = dict[str, Any]
_CHUNK_BYTES = 32 * 1024


def exit_status(code: int) -> bytes:
    """What the error channel says when a command ended."""
    if code == 0:
        return json.dumps({"metadata": {}, "status": "Success"}).encode()
    cause = {"reason": "ExitCode", "message": str(code)}
    return json.dumps(
        {
            "metadata": {},
            "status": "Failure",
            "reason": "NonZeroExitCode",
            "message": f"command terminated with non-zero exit code: exit status {code}",
            "details": {"causes": [cause]},
        }
    ).encode()


def failure_status(message: str) -> bytes:
    """What the error channel says when a command could not be run."""
    return json.dumps({"metadata": {}, "status": "Failure", "reason": "InternalError", "message": message, "code": 500}).encode()


async def execute(runtime: RuntimeClient, container: str, argv: list[str], tty: bool, channels: Mapping[str, Channel]) -> None:
    """Run a command until it ends, then say how it ended. A client that leaves first takes the command with it."""
    try:
        if tty:
            await _execute_tty(runtime, container, argv, channels)
        else:
            await _execute_pipes(runtime, container, argv, channels)
    except RuntimeFailure as exc:
        message = f"error executing command in container: {exc}"
        await channels["error"].send(failure_status(message))


async def attach(runtime: RuntimeClient, container: str, channels: Mapping[str, Channel]) -> None:
    """Join a running container's streams until it ends."""
    pipes: dict[str, int] = {}
    outputs: dict[str, int] = {}
    for name in ("stdout", "stderr"):
        if name in channels:
            pipes[name], outputs[name] = os.pipe2(os.O_CLOEXEC)
    try:
        stdin = await runtime.attach(container, stdin="stdin" in channels, outputs=outputs)
    except RuntimeFailure as exc:
        for fd in pipes.values():
            os.close(fd)
        await channels["error"].send(failure_status(str(exc)))
        return
    finally:
        for fd in outputs.values():
            os.close(fd)
    async with trio.open_nursery() as nursery:
        if stdin is not None:
            if "resize" in channels:
                nursery.start_soon(_resize, channels["resize"], os.dup(stdin))
            nursery.start_soon(_feed, channels["stdin"], stdin)
        async with trio.open_nursery() as readers:
            for name, fd in pipes.items():
                readers.start_soon(_drain, fd, channels[name])
            readers.start_soon(runtime.wait, container)
        nursery.cancel_scope.cancel()
    end = await runtime.wait(container)
    await channels["error"].send(exit_status(end.code))


async def _execute_pipes(runtime: RuntimeClient, container: str, argv: list[str], channels: Mapping[str, Channel]) -> None:
    ours, theirs = {}, {}
    theirs["stdin"], ours["stdin"] = os.pipe2(os.O_CLOEXEC)
    for name in ("stdout", "stderr"):
        ours[name], theirs[name] = os.pipe2(os.O_CLOEXEC)
    if "stdin" not in channels:
        os.close(ours.pop("stdin"))
    try:
        execution = await runtime.execute(container, argv, (theirs["stdin"], theirs["stdout"], theirs["stderr"]))
    except BaseException:
        for fd in ours.values():
            os.close(fd)
        raise
    finally:
        for fd in theirs.values():
            os.close(fd)
    try:
        async with trio.open_nursery() as nursery:
            if "stdin" in ours:
                nursery.start_soon(_feed, channels["stdin"], ours.pop("stdin"))
            async with trio.open_nursery() as readers:
                for name in ("stdout", "stderr"):
                    readers.start_soon(_drain, ours.pop(name), channels.get(name))
            end = await runtime.wait(execution.number)
            nursery.cancel_scope.cancel()
    except BaseException:
        await _abandon(runtime, execution.number)
        raise
    await channels["error"].send(exit_status(end.code))


async def _execute_tty(runtime: RuntimeClient, container: str, argv: list[str], channels: Mapping[str, Channel]) -> None:
    execution = await runtime.execute(container, argv, None)
    master = execution.master
    assert master is not None
    try:
        async with trio.open_nursery() as nursery:
            if "stdin" in channels:
                nursery.start_soon(_feed, channels["stdin"], os.dup(master))
            if "resize" in channels:
                nursery.start_soon(_resize, channels["resize"], os.dup(master))
            await _drain(master, channels.get("stdout"))
            end = await runtime.wait(execution.number)
            nursery.cancel_scope.cancel()
    except BaseException:
        await _abandon(runtime, execution.number)
        raise
    await channels["error"].send(exit_status(end.code))


async def _abandon(runtime: RuntimeClient, number: int) -> None:
    with trio.CancelScope(shield=True):
        await runtime.signal(number, 9)


async def _feed(channel: Channel, fd: int) -> None:
    """From the client to a process's stdin. Closes: `fd`."""
    async with trio.lowlevel.FdStream(fd) as stream:
        try:
            while data := await channel.receive():
                await stream.send_all(data)
        except trio.BrokenResourceError:
            pass  # the process does not read any more; it need not


async def _drain(fd: int, channel: Channel | None) -> None:
    """From a process to the client, to the end. Closes: `fd`."""
    async with trio.lowlevel.FdStream(fd) as stream:
        while True:
            try:
                data = await stream.receive_some(_CHUNK_BYTES)
            except trio.BrokenResourceError:  # EIO: the last holder of a terminal has closed it
                return
            if not data:
                return
            if channel is not None:
                await channel.send(bytes(data))


async def _resize(channel: Channel, fd: int) -> None:
    """Apply terminal sizes {"Width": 80, "Height": 24}. Closes: `fd`."""
    try:
        buffer = b""
        decoder = json.JSONDecoder()
        while data := await channel.receive():
            buffer += data
            while text := buffer.decode(errors="replace").lstrip():
                try:
                    size, end = decoder.raw_decode(text)
                except ValueError:
                    break
                buffer = text[end:].encode()
                fcntl.ioctl(fd, termios.TIOCSWINSZ, struct.pack("HHHH", int(size["Height"]), int(size["Width"]), 0, 0))
    finally:
        os.close(fd)
