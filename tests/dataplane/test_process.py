"""The proxy as a process: static configuration, signals, drain, exit codes."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio

from tests.support.proxy import Upstream, read_all, read_response, replying, serving

OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"
GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"

CONFIG = """
static_resources:
  listeners:
  - name: ingress
    traffic_direction: {direction}
    address: {{socket_address: {{address: 127.0.0.1, port_value: {port}}}}}
    filter_chains:
    - filters:
      - name: envoy.filters.network.http_connection_manager
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: ingress
          route_config:
            virtual_hosts:
            - name: all
              domains: ["*"]
              routes:
              - match: {{prefix: "/"}}
                route: {{cluster: app}}
          http_filters:
          - name: envoy.filters.http.router
            typed_config:
              "@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router
  clusters:
  - name: app
    type: STATIC
    load_assignment:
      cluster_name: app
      endpoints:
      - lb_endpoints:
        - endpoint:
            address: {{socket_address: {{address: 127.0.0.1, port_value: {upstream}}}}}
"""


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


@asynccontextmanager
async def process(upstream: Upstream, directory: Path, drain: str, direction: str = "INBOUND") -> AsyncIterator[tuple[trio.Process, int]]:
    port = free_port()
    file = directory / "proxy.yaml"
    file.write_text(CONFIG.format(port=port, upstream=upstream.port, direction=direction))
    settings = {"drainDuration": "5s", "terminationDrainDuration": drain, "logLevel": "info"}
    started = await trio.lowlevel.open_process(
        [sys.executable, "-m", "mesh.proxy", "router", "--config", str(file)],
        env={**os.environ, "TRIOMESH_PROXY_CONFIG": json.dumps(settings)},
        stderr=subprocess.PIPE,
    )
    try:
        assert started.stderr is not None
        log = b""
        while b"ready:" not in log:
            more = await started.stderr.receive_some()
            assert more, log.decode()
            log += more
        yield started, port
    finally:
        started.kill()
        await started.wait()
        await started.stderr.aclose()


@pytest.mark.parametrize("direction", ["INBOUND", "OUTBOUND"])
async def test_sigterm_drains_and_leaves(tmp_path: Path, direction: str) -> None:
    """A gateway's listeners are OUTBOUND, as Istio's, and its clients are told all the same."""
    async with serving(replying(OK)) as upstream, process(upstream, tmp_path, "0.4s", direction) as (proxy, port):
        async with await trio.open_tcp_stream("127.0.0.1", port) as idle:
            await idle.send_all(GET)
            _, head, _, _ = await read_response(idle)
            assert b"connection: close" not in head.lower()
            proxy.send_signal(signal.SIGTERM)
            assert proxy.stderr is not None
            while b"draining" not in await proxy.stderr.receive_some():
                pass
            async with await trio.open_tcp_stream("127.0.0.1", port) as late:
                await late.send_all(GET)
                _, head, body, _ = await read_response(late)
                assert b"connection: close" in head.lower() and body == b"ok"
            with trio.fail_after(5):
                assert await read_all(idle) == b""
                assert await proxy.wait() == 0


async def test_a_second_signal_ends_it_at_once(tmp_path: Path) -> None:
    async with serving(replying(OK)) as upstream, process(upstream, tmp_path, "30s") as (proxy, port):
        async with await trio.open_tcp_stream("127.0.0.1", port) as stream:
            await stream.send_all(GET)
            await read_response(stream)
            proxy.send_signal(signal.SIGTERM)
            assert proxy.stderr is not None
            while b"draining" not in await proxy.stderr.receive_some():
                pass
            proxy.send_signal(signal.SIGINT)
            with trio.fail_after(5):
                assert await proxy.wait() == 0


def test_what_cannot_start_says_why(tmp_path: Path) -> None:
    def run(*arguments: str, **environment: str) -> tuple[int, str]:
        done = subprocess.run(
            [sys.executable, "-m", "mesh.proxy", *arguments],
            env={**os.environ, **environment},
            capture_output=True,
            text=True,
            timeout=30,
        )
        return done.returncode, done.stderr

    code, error = run("sidecar")
    assert code == 1 and "TRIOMESH_PROXY_CONFIG is not set" in error
    broken = tmp_path / "broken.yaml"
    broken.write_text("static_resources: {listeners: [{name: x, address: nonsense}]}")
    code, error = run("router", "--config", str(broken))
    assert code == 1 and "Traceback" not in error and error.startswith("triomesh-proxy: ")
    code, error = run("router", "--config", str(tmp_path / "missing"))
    assert code == 1 and "missing" in error
