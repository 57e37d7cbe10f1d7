"""`python -m mesh.sandbox.apiserver`: build everything, serve until SIGTERM."""

from __future__ import annotations

import argparse
import logging
import os
import random
import signal
import socket
import ssl
import sys
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path

import trio

from mesh.sandbox import pki
from mesh.sandbox.apiserver import crd, http
from mesh.sandbox.apiserver.admission import Admission
from mesh.sandbox.apiserver.authn import Authenticator
from mesh.sandbox.apiserver.bootstrap import fill
from mesh.sandbox.apiserver.cleanup import Cleaner
from mesh.sandbox.apiserver.cluster import Cluster
from mesh.sandbox.apiserver.hookclient import HookCaller
from mesh.sandbox.apiserver.journal import Journal
from mesh.sandbox.apiserver.kinds import builtin
from mesh.sandbox.apiserver.kubeconfig import write_kubeconfigs
from mesh.sandbox.apiserver.metrics import Metrics
from mesh.sandbox.apiserver.network import Network
from mesh.sandbox.apiserver.rbac import Authorizer
from mesh.sandbox.apiserver.registry import Registry
from mesh.sandbox.apiserver.server import Server
from mesh.sandbox.apiserver.storage import Store
from mesh.sandbox.apiserver.tokens import TokenSigner
from mesh.sandbox.apiserver.watch import Hub

HISTORY = 5000  # changes that watches can resume over; real servers keep five minutes


def arguments(argv: Sequence[str]) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m mesh.sandbox.apiserver", description=__doc__)
    parser.add_argument("--state", type=Path, required=True, metavar="DIR", help="directory of state.db, pki/ and the kubeconfigs")
    parser.add_argument("--listen-fd", type=int, action="append", required=True, metavar="N", help="an inherited listening TCP socket (may be repeated)")
    parser.add_argument("--history", type=int, default=HISTORY, metavar="CHANGES", help="changes kept for watches to resume over (default %(default)s)")
    parser.add_argument("--log-level", default="info", choices=["debug", "info", "warning", "error"])
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> None:
    """Entry point."""
    options = arguments(sys.argv[1:] if argv is None else argv)
    logging.basicConfig(level=options.log_level.upper(), format="%(asctime)s %(levelname)s %(name)s: %(message)s", stream=sys.stderr)
    sockets = []
    for fd in options.listen_fd:
        try:
            sockets.append(socket.socket(fileno=fd))
        except OSError as exc:
            sys.exit(f"--listen-fd {fd}: not an open socket: {exc}")
    trio.run(run, options.state, sockets, options.history)


async def run(state: Path, sockets: Sequence[socket.socket], history: int = HISTORY) -> None:
    """Serve on `sockets` until SIGTERM or SIGINT. Prints `ready` when requests are answered."""
    state.mkdir(parents=True, exist_ok=True)
    certificates = pki.ensure(state / "pki")
    journal = Journal(state / "state.db", history)
    metrics = Metrics()
    cluster = assemble(certificates, journal, history, metrics, _now, random.SystemRandom())
    addresses = write_kubeconfigs(state, certificates, sockets)
    listeners = [trio.SocketListener(_listening(sock)) for sock in sockets]
    try:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_stop_on_signal, nursery.cancel_scope)
            nursery.start_soon(cluster.store.run)
            nursery.start_soon(Cleaner(cluster).run)
            await fill(cluster, addresses)
            await nursery.start(http.serve, listeners, _tls(certificates), Server(cluster, metrics).respond)
            print("ready", flush=True)
    finally:
        journal.close()


def assemble(certificates: pki.Pki, journal: Journal, history: int, metrics: Metrics, clock: Callable[[], datetime], rng: random.Random) -> Cluster:
    """Everything that outlives a request, over one journal."""
    store = Store(journal, history)
    registry = Registry(builtin())
    crd.install(registry, store)
    network = Network(store, certificates, rng)
    signer = TokenSigner(certificates.service_account_key)
    admission = Admission(store, HookCaller(network), metrics, clock)
    return Cluster(store, Hub(store), registry, signer, Authenticator(signer, store), Authorizer(store), admission, network, clock, rng)


def _now() -> datetime:
    return datetime.now(UTC)


def _listening(sock: socket.socket) -> trio.socket.SocketType:
    sock.setblocking(False)
    if not sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
        sock.listen(128)
    os.set_inheritable(sock.fileno(), False)
    return trio.socket.from_stdlib_socket(sock)


def _tls(certificates: pki.Pki) -> ssl.SSLContext:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=str(certificates.ca))
    context.load_cert_chain(certificates.cert("apiserver"), certificates.key("apiserver"))
    context.verify_mode = ssl.CERT_OPTIONAL  # pods come with tokens instead
    context.set_alpn_protocols(["http/1.1"])
    return context


async def _stop_on_signal(scope: trio.CancelScope) -> None:
    with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
        async for _ in signals:
            scope.cancel()
            return
