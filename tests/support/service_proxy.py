"""The service proxy in a process of its own, to be started in a network namespace: `python -m tests.support.service_proxy STATE NAME`.

Every line on stdin is {"services": [objects], "slices": [objects]} to add.
"""

import json
import sys
from pathlib import Path
from typing import Any

import trio

from mesh.sandbox.events import EventRecorder
from mesh.sandbox.informer import Informer
from mesh.sandbox.kubeclient import ENDPOINT_SLICES, SERVICES
from mesh.sandbox.layout import Layout
from mesh.sandbox.node.proxy import ServiceProxy


class Printer(EventRecorder):
    """Prints the reasons of Events instead of sending them: no API server is reached from here."""

    def __init__(self) -> None:
        pass

    def record(self, obj: Any, kind: str, reason: str, message: str, *, field_path: str = "") -> None:
        print(f"{kind} {reason} {obj['metadata']['name']}", flush=True)


async def main(state: Path, name: str) -> None:
    services, slices = Informer(None, SERVICES), Informer(None, ENDPOINT_SLICES)  # type: ignore[arg-type]
    proxy = ServiceProxy(Layout(name, state), services, slices, Printer())
    async with trio.open_nursery() as nursery:
        nursery.start_soon(proxy.run)
        buffer = b""
        async with trio.lowlevel.FdStream(0) as lines:
            async for data in lines:
                *whole, buffer = (buffer + data).split(b"\n")
                for line in whole:
                    wish = json.loads(line)
                    for informer, key in ((slices, "slices"), (services, "services")):
                        for item in wish.get(key, ()):
                            informer.put(item)
                        informer.synced.set()
        nursery.cancel_scope.cancel()


if __name__ == "__main__":
    trio.run(main, Path(sys.argv[1]), sys.argv[2])
