"""The injector as a process before a real API server, which reaches it as the Service triomesh-injector.

The API server dials webhooks through its egress selector: an HTTP CONNECT proxy on a Unix socket, which here leads to
the injector's listening port whatever the name asked for.
"""

import json
import os
import queue
import re
import select
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
MANIFESTS = ROOT / "charts/triomesh/manifests"
CRDS = ROOT / "charts/triomesh-crds"
_START_SECONDS = 30.0


class Kubectl:
    """The real kubectl, with a kubeconfig."""

    def __init__(self, kubeconfig: Path) -> None:
        self.kubeconfig = kubeconfig

    def run(self, *words: str, stdin: str = "", check: bool = True) -> "subprocess.CompletedProcess[str]":
        command = ["kubectl", f"--kubeconfig={self.kubeconfig}", *words]
        done = subprocess.run(command, input=stdin, capture_output=True, text=True, check=False, cwd=ROOT)
        if check and done.returncode:
            raise AssertionError(f"{' '.join(words)}: {done.stderr or done.stdout}")
        return done

    def apply(self, text: str, *words: str) -> str:
        return self.run("apply", "-f", "-", *words, stdin=text).stdout

    def get(self, *words: str) -> dict:  # type: ignore[type-arg]
        return dict(json.loads(self.run("get", *words, "-o", "json").stdout))

    def as_service_account(self, namespace: str, name: str) -> "Kubectl":
        """The same cluster with a token of that service account, and with its rights only."""
        token = self.run("create", "token", "-n", namespace, name).stdout.strip()
        config = json.loads(self.kubeconfig.read_text())
        config["users"] = [{"name": "account", "user": {"token": token}}]
        config["contexts"][0]["context"]["user"] = "account"
        path = self.kubeconfig.with_name(f"kubeconfig-{name}")
        path.write_text(json.dumps(config))
        os.chmod(path, 0o600)
        return Kubectl(path)


def manifest(name: str, version: str = "0.1.0") -> str:
    """A file of charts/triomesh/manifests, filled in."""
    return (MANIFESTS / name).read_text().replace("${VERSION}", version)


@contextmanager
def injector(kubeconfig: Path, log: Path) -> Iterator[int]:
    """`python -m injector serve` for the length of a `with`; its port, once it serves."""
    command = [sys.executable, "-m", "injector", "serve", "--bind", "127.0.0.1:0", "--kubeconfig", str(kubeconfig)]
    with subprocess.Popen(command, stderr=subprocess.PIPE, cwd=ROOT) as process:
        ports: queue.Queue[int] = queue.Queue()
        reader = threading.Thread(target=_read_log, args=(process, log, ports))
        reader.start()
        try:
            yield _port(ports, log)
        finally:
            process.terminate()
            reader.join(15)


def _port(ports: "queue.Queue[int]", log: Path) -> int:
    try:
        return ports.get(timeout=_START_SECONDS)
    except queue.Empty:
        raise AssertionError(f"the injector does not serve: {log.read_text()}") from None


def _read_log(process: "subprocess.Popen[bytes]", log: Path, ports: "queue.Queue[int]") -> None:
    assert process.stderr is not None
    with log.open("ab", buffering=0) as sink:
        for line in process.stderr:
            sink.write(line)
            if found := re.search(rb"serving on \S+ port (\d+)", line):
                ports.put(int(found[1]))


class ConnectProxy:
    """HTTP CONNECT on a Unix socket; every name leads to `port` on 127.0.0.1. Counts the tunnels it made."""

    def __init__(self, path: Path) -> None:
        self.port = 0
        self.tunnels = 0
        self._server = socket.socket(socket.AF_UNIX)
        self._server.bind(str(path))
        self._server.listen(16)
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        self._server.shutdown(socket.SHUT_RDWR)
        self._server.close()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._server.accept()
            except OSError:
                return
            threading.Thread(target=self._tunnel, args=(client,), daemon=True).start()

    def _tunnel(self, client: socket.socket) -> None:
        with client:
            head = b""
            while b"\r\n\r\n" not in head:
                if not (data := client.recv(4096)):
                    return
                head += data
            try:
                server = socket.create_connection(("127.0.0.1", self.port))
            except OSError:
                client.sendall(b"HTTP/1.1 502 Bad Gateway\r\n\r\n")
                return
            self.tunnels += 1
            with server:
                client.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
                _relay(client, server)


def _relay(one: socket.socket, other: socket.socket) -> None:
    while True:
        for source in select.select([one, other], [], [])[0]:
            try:
                data = source.recv(65536)
            except ConnectionError:
                return
            if not data:
                return
            (other if source is one else one).sendall(data)
