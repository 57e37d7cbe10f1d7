"""The ADS thread against a real gRPC server: updates, rejections, reconnects, and a start from disk."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from queue import SimpleQueue
from threading import Thread

import grpc
import pytest
import trio

from mesh.model.addr import Address
from mesh.model.node import Node, Role
from mesh.model.secret import TlsCertificate
from mesh.model.snapshot import Snapshot
from mesh.proxy.ads_thread import AdsThread
from mesh.proxy.control_plane import ControlPlane
from mesh.xds.ads_client import AdsClient, Update
from mesh.xds.ads_stream import AdsStream
from mesh.xds.encode import Encoder
from mesh.xds.kind import Variant
from tests.support.proxy import cluster, forward, listener, manager, routes, snapshot
from tests.support.proxy_tls import Authority

NODE = Node("sidecar~10.0.0.1~a.b~b.svc.cluster.local", Role.SIDECAR, "10.0.0.1", "a", "b")


class Server:
    """A control plane of one snapshot."""

    def __init__(self, config: Snapshot) -> None:
        self.config = config
        self.streams = 0
        self.refusals: SimpleQueue[tuple[str, str]] = SimpleQueue()
        self.bearers: list[str] = []
        self.refuse: tuple[grpc.StatusCode, str] | None = None
        self._pushes: list[SimpleQueue[bytes | None]] = []

    def push(self, config: Snapshot) -> None:
        self.config = config
        for pushes in self._pushes:
            pushes.put(b"")

    def delta(self, requests: Iterator[bytes], context: grpc.ServicerContext) -> Iterator[bytes]:
        self.streams += 1
        self.bearers.append(str(dict(context.invocation_metadata()).get("authorization", "")))
        if self.refuse is not None:
            context.abort(*self.refuse)
        stream = AdsStream(Variant.DELTA, f"s{self.streams}")
        stream.on_snapshot(Encoder().bundle(self.config), 0.0)
        incoming: SimpleQueue[bytes | None] = SimpleQueue()
        self._pushes.append(incoming)

        def read() -> None:
            try:
                for request in requests:
                    incoming.put(request)
            except grpc.RpcError:
                pass  # the client is gone, or we are
            incoming.put(None)

        Thread(target=read, daemon=True).start()
        while (item := incoming.get()) is not None:
            if item:
                reaction = stream.on_request(item, 0.0)
                responses = reaction.responses
                for refusal in reaction.refusals:
                    self.refusals.put((refusal.resource, refusal.message))
            else:
                responses = stream.on_snapshot(Encoder().bundle(self.config), 0.0)
            for response in responses:
                yield response.body


@contextmanager
def serving(server: Server, port: int = 0, certificate: TlsCertificate | None = None) -> Iterator[int]:
    grpc_server = grpc.server(ThreadPoolExecutor(8))
    handler = grpc.stream_stream_rpc_method_handler(server.delta)
    service, _, method = Variant.DELTA.value[1:].partition("/")
    grpc_server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, {method: handler}),))
    if certificate is None:
        bound = grpc_server.add_insecure_port(f"127.0.0.1:{port}")
    else:
        credentials = grpc.ssl_server_credentials([(certificate.key_pem, certificate.chain_pem)])
        bound = grpc_server.add_secure_port(f"127.0.0.1:{port}", credentials)
    grpc_server.start()
    try:
        yield bound
    finally:
        grpc_server.stop(None).wait()


CONFIG = snapshot(listener(manager(routes(forward("a")))), cluster("a", 80))


@contextmanager
def following(
    port: int, state: Path | None = None, plane: ControlPlane | None = None
) -> Iterator[tuple[AdsThread, trio.MemoryReceiveChannel[Update]]]:
    send, receive = trio.open_memory_channel[Update](100)

    def publish(update: Update) -> dict[str, str]:
        send.send_nowait(update)
        return {"unusable": "of no use"}  # whatever its type, when there is one of this name

    thread = AdsThread(AdsClient(NODE), plane or ControlPlane(Address("127.0.0.1", port)), publish, state)
    thread.start()
    try:
        yield thread, receive
    finally:
        thread.close()


async def complete(updates: trio.MemoryReceiveChannel[Update]) -> Snapshot:
    with trio.fail_after(10):
        while True:
            update = await updates.receive()
            if update.complete and update.snapshot is not None:
                return update.snapshot


async def test_updates_arrive_on_the_trio_thread() -> None:
    server = Server(CONFIG)
    with serving(server) as port, following(port) as (_, updates):
        assert (await complete(updates)).clusters == CONFIG.clusters
        server.push(replace(CONFIG, clusters={"a": cluster("a", 81)}))
        assert (await complete(updates)).clusters["a"] == cluster("a", 81)


async def test_a_control_plane_that_restarts_is_found_again(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.CRITICAL)
    server = Server(CONFIG)
    with serving(server) as port:
        context = following(port)
        _, updates = context.__enter__()
        await complete(updates)
    second = Server(replace(CONFIG, clusters={"a": cluster("a", 99)}))
    try:
        with serving(second, port):
            assert (await complete(updates)).clusters["a"] == cluster("a", 99)
    finally:
        context.__exit__(None, None, None)


async def test_a_proxy_starts_from_disk_when_nobody_answers(tmp_path: Path) -> None:
    state = tmp_path / "state"
    with serving(Server(CONFIG)) as port, following(port, state) as (thread, updates):
        await complete(updates)
        thread.close()
        await trio.to_thread.run_sync(thread.join)
    assert state.stat().st_mode & 0o777 == 0o600
    with following(1, state) as (thread, updates):
        assert (await complete(updates)).clusters == CONFIG.clusters
        assert not thread.connected
    state.write_bytes(b"damaged")
    with following(1, state) as (_, updates), trio.move_on_after(0.3) as scope:
        await updates.receive()
    assert scope.cancelled_caught


async def test_what_cannot_be_used_is_refused_and_after_a_reconnect_again(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.CRITICAL)
    server = Server(replace(CONFIG, clusters={**CONFIG.clusters, "unusable": cluster("unusable", 80)}))
    with serving(server) as port, following(port) as (thread, updates):
        await complete(updates)
        assert await trio.to_thread.run_sync(partial(server.refusals.get, timeout=10)) == ("unusable", "of no use")
        thread._call.cancel()
        assert await trio.to_thread.run_sync(partial(server.refusals.get, timeout=10)) == ("unusable", "of no use")
    assert server.streams == 2


async def test_over_tls_every_stream_says_who_we_are(tmp_path: Path) -> None:
    root = Authority()
    roots, token = tmp_path / "roots.pem", tmp_path / "token"
    roots.write_bytes(root.pem)
    token.write_text("first\n")
    server = Server(CONFIG)
    with serving(server, certificate=root.issue("127.0.0.1")) as port:
        plane = ControlPlane(Address("127.0.0.1", port), roots, token)
        with following(port, plane=plane) as (thread, updates):
            assert (await complete(updates)).clusters == CONFIG.clusters
            assert server.bearers == ["Bearer first"]
            token.write_text("second")
            thread._call.cancel()
            with trio.fail_after(10):
                while True:
                    if len(server.bearers) > 1:
                        break
                    await trio.sleep(0.01)
    assert server.bearers[1] == "Bearer second"


@pytest.mark.parametrize("code", [grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.PERMISSION_DENIED])
async def test_a_refusal_is_said_once_in_the_servers_words_and_asked_again(
    code: grpc.StatusCode, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    root = Authority()
    roots, token = tmp_path / "roots.pem", tmp_path / "token"
    roots.write_bytes(root.pem)
    token.write_text("x")
    server = Server(CONFIG)
    server.refuse = (code, "the node is not in the token's namespace")
    with serving(server, certificate=root.issue("127.0.0.1")) as port:
        with following(port, plane=ControlPlane(Address("127.0.0.1", port), roots, token)) as (_, updates):
            with trio.fail_after(10):
                while True:
                    if server.streams >= 3:
                        break
                    await trio.sleep(0.01)
            warnings = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
            assert len(warnings) == 1
            assert warnings[0].endswith(f"{code.name}: the node is not in the token's namespace")
            server.refuse = None
            await complete(updates)


async def test_an_impostor_hears_no_token_and_missing_roots_are_waited_for(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    root = Authority()
    roots, token = tmp_path / "roots.pem", tmp_path / "token"
    token.write_text("x")
    server = Server(CONFIG)
    with serving(server, certificate=root.issue("127.0.0.1")) as port:
        with following(port, plane=ControlPlane(Address("127.0.0.1", port), roots, token)) as (thread, updates):
            await until_logged(caplog, "triomesh-ca-root-cert")
            roots.write_bytes(Authority("other").pem)
            await until_logged(caplog, "ADS stream to")
            assert server.streams == 0 and not thread.connected
            roots.write_bytes(root.pem)
            await complete(updates)


async def until_logged(caplog: pytest.LogCaptureFixture, text: str) -> None:
    with trio.fail_after(10):
        while True:
            if any(text in record.getMessage() for record in caplog.records):
                return
            await trio.sleep(0.01)
