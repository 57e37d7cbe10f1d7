"""The container runtime as a process of its own, with a connected client. Needs root."""

import json
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import trio

from mesh.sandbox.node.crilog import decode
from mesh.sandbox.node.launch import Launch
from mesh.sandbox.node.runtimeclient import RuntimeClient


@dataclass
class Box:
    """A runtime process and its client."""

    client: RuntimeClient
    process: "subprocess.Popen[bytes]"
    directory: Path

    async def start(self, script: str, **changed: object) -> Launch:
        """Start `sh -c script` as user 1337; `changed` are other fields of the Launch."""
        spec = Launch(
            id="u/c/0",
            argv=["sh", "-c", script],
            env={"PATH": "/usr/bin:/bin", "WHO": "me"},
            cwd="/",
            uid=1337,
            gid=1337,
            groups=[],
            capabilities=["NET_BIND_SERVICE"],
            no_new_privileges=True,
            read_only_root=False,
            privileged=False,
            tty=False,
            stdin=False,
            stdin_once=False,
            directory=str(self.directory / "container"),
            log=str(self.directory / "logs" / "0.log"),
            netns="",
            utsns="",
            ipcns="",
            shm_bytes=1 << 20,
            hide=[str(self.directory)],
            reach=[],
            files={"/etc/hostname": "box\n"},
        )
        for key, value in changed.items():
            object.__setattr__(spec, key, value)
        path = self.directory / "launch.json"
        path.write_text(json.dumps(asdict(spec)))
        await self.client.start(path)
        return spec

    def output(self, name: str = "0") -> str:
        """What a container wrote to its log."""
        lines = (self.directory / "logs" / f"{name}.log").read_bytes().splitlines()
        return b"".join(decode(line).text for line in lines).decode()


@asynccontextmanager
async def runtime(directory: Path) -> AsyncIterator[Box]:
    """A runtime process of its own, killed at the end (and the kernel kills its containers)."""
    command = [sys.executable, "-m", "mesh.sandbox.node.runtime", "--socket", str(directory / "s")]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None and process.stdout.readline() == b"ready\n"
        client = await RuntimeClient.connect(directory / "s")
        try:
            with trio.fail_after(20):
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(client.run)
                    yield Box(client, process, directory)
                    nursery.cancel_scope.cancel()
        finally:
            client.close()
            process.kill()
