"""A real API server process on 127.0.0.1, and clients of it."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from kubernetes import client, config

KUBECTL = shutil.which("kubectl")


class ApiServer:
    """One server over one state directory; the listening socket outlives it, so that a restarted one keeps its address."""

    def __init__(self, state: Path, *options: str) -> None:
        self.state = state
        self._options = options
        self._socket = socket.create_server(("127.0.0.1", 0), backlog=128)
        self.port: int = self._socket.getsockname()[1]
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def kubeconfig(self) -> Path:
        return self.state / "kubeconfig"

    @property
    def log(self) -> str:
        return (self.state / "log").read_text()

    def start(self) -> None:
        fd = self._socket.fileno()
        self.state.mkdir(parents=True, exist_ok=True)
        with open(self.state / "log", "ab") as log:
            command = [sys.executable, "-m", "mesh.sandbox.apiserver", "--state", str(self.state), "--listen-fd", str(fd), *self._options]
            self._process = subprocess.Popen(command, pass_fds=[fd], stdout=subprocess.PIPE, stderr=log)
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        assert line == b"ready\n", (line, self.log)

    def kill(self, how: signal.Signals = signal.SIGKILL) -> None:
        assert self._process is not None
        self._process.send_signal(how)
        self._process.wait(30)
        assert self._process.stdout is not None
        self._process.stdout.close()
        self._process = None

    def close(self) -> None:
        if self._process is not None:
            self.kill(signal.SIGTERM)
        self._socket.close()

    def api(self, token: str | None = None) -> client.ApiClient:
        """A client as admin, or with a bearer token instead of the certificate."""
        settings = client.Configuration()
        config.load_kube_config(str(self.kubeconfig), client_configuration=settings)
        settings.retries = False
        if token is not None:
            settings.cert_file = settings.key_file = None
            settings.api_key = {"authorization": f"Bearer {token}"}
        return client.ApiClient(settings)

    def kubectl(self, *arguments: str, stdin: str | None = None, check: bool = True) -> subprocess.CompletedProcess[str]:
        assert KUBECTL is not None
        environment = {**os.environ, "KUBECONFIG": str(self.kubeconfig), "HOME": str(self.state)}
        done = subprocess.run([KUBECTL, *arguments], input=stdin, capture_output=True, text=True, env=environment, timeout=60)
        assert not check or done.returncode == 0, (arguments, done.stdout, done.stderr, self.log[-2000:])
        return done


@contextlib.contextmanager
def running(state: Path, *options: str) -> Iterator[ApiServer]:
    """A started server with the `default` service account that its pods need (a controller makes it in a sandbox)."""
    server = ApiServer(state, *options)
    try:
        server.start()
        with server.api() as api:
            client.CoreV1Api(api).create_namespaced_service_account("default", {"metadata": {"name": "default"}})
        yield server
    finally:
        server.close()


@pytest.fixture(scope="module")
def module_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApiServer]:
    """One server for a whole module, which says `server = support.module_server`."""
    with running(tmp_path_factory.mktemp("apiserver")) as started:
        yield started


@pytest.fixture(scope="module")
def module_admin(server: ApiServer) -> Iterator[client.ApiClient]:
    """An administrator's client of the module's `server`."""
    with server.api() as made:
        yield made


@pytest.fixture
def own_server(tmp_path: Path) -> Iterator[ApiServer]:
    """A server for each test."""
    with running(tmp_path / "state") as started:
        yield started


@pytest.fixture
def own_admin(server: ApiServer) -> Iterator[client.ApiClient]:
    """An administrator's client of the test's `server`."""
    with server.api() as made:
        yield made


def call(api: client.ApiClient, method: str, path: str, body: Any = None, content_type: str = "application/json", **query: Any) -> tuple[int, Any, dict[str, str]]:
    """One raw request: (status, JSON or text, headers). Errors are answers too."""
    import json
    from urllib.parse import urlencode

    url = api.configuration.host + path + ("?" + urlencode(query, doseq=True) if query else "")
    headers = {"Accept": "application/json", "Content-Type": content_type}
    if api.configuration.api_key.get("authorization"):
        headers["Authorization"] = api.configuration.api_key["authorization"]
    data = body if isinstance(body, (str, bytes)) or body is None else json.dumps(body)
    answer = api.rest_client.pool_manager.request(method, url, body=data, headers=headers, retries=False)
    text = answer.data.decode()
    with contextlib.suppress(ValueError):
        return answer.status, json.loads(text), dict(answer.headers)
    return answer.status, text, dict(answer.headers)


def pod(name: str, **labels: str) -> dict[str, Any]:
    """The smallest valid pod."""
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "labels": labels}, "spec": {"containers": [{"name": "app", "image": "app:1"}]}}
