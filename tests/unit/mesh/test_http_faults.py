"""Peers that break HTTP's rules cost one line; bugs of ours keep their traceback."""

from __future__ import annotations

import asyncio
import gc
import logging
import socket

import pytest
from starlette.applications import Starlette

from mesh.control.monitoring import serve_http
from mesh.http_faults import log_in_one_line

UPGRADE = b"GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: %b\r\n\r\n"


async def ask(port: int, settings: bytes) -> bytes:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(UPGRADE % settings)
    try:
        return await reader.read()
    finally:
        writer.close()


@pytest.mark.parametrize(("settings", "told"), [(b"AAAA", "InvalidFrameError: Invalid SETTINGS body"), (b"A", "Error: Invalid base64")])
def test_malformed_settings_of_an_upgrade(settings: bytes, told: str, caplog: pytest.LogCaptureFixture) -> None:
    async def run() -> None:
        log_in_one_line(asyncio.get_running_loop())
        stop, listening = asyncio.Event(), socket.create_server(("127.0.0.1", 0))
        port = listening.getsockname()[1]
        serving = asyncio.create_task(serve_http(Starlette(), listening, stop))
        async with asyncio.timeout(10):
            await ask(port, settings)
        stop.set()
        await serving

    with caplog.at_level(logging.INFO):
        asyncio.run(run())
        gc.collect()
    (line,) = [record for record in caplog.records if record.name == "mesh.http_faults"]
    assert told in line.getMessage() and line.exc_info is None
    assert not [record for record in caplog.records if record.name == "asyncio" and record.levelno >= logging.ERROR]


def test_what_is_not_a_peers_fault_is_told_as_ever(caplog: pytest.LogCaptureFixture) -> None:
    async def fail() -> None:
        raise RuntimeError("ours")

    async def run() -> None:
        log_in_one_line(asyncio.get_running_loop())
        task = asyncio.create_task(fail())
        await asyncio.wait([task])
        del task
        gc.collect()

    asyncio.run(run())
    (line,) = [record for record in caplog.records if record.name == "asyncio"]
    assert line.exc_info is not None and "ours" in str(line.exc_info[1])
