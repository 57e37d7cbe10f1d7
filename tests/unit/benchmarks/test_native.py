"""The C programs against each other and against servers that misbehave."""

import contextlib
import json
import os
import socket
import threading
import urllib.request
from pathlib import Path

import pytest

from benchmarks import certificates
from benchmarks.contenders import backend, backend_counters
from benchmarks.native import run_load
from benchmarks.resources import REQUEST, SHAPES

NO_TLS = {"client_certificate": 0, "handshakes": 0}
CORE = sorted(os.sched_getaffinity(0))[0]


@pytest.fixture
def request_file(tmp_path: Path) -> Path:
    file = tmp_path / "request"
    file.write_bytes(REQUEST)
    return file


def test_closed_and_open_loop_count_what_the_back_end_saw(request_file: Path) -> None:
    with backend(CORE, 10) as ports:
        closed = run_load(ports[1], 4, 0.2, 0, request_file, CORE)
        counted = backend_counters(ports[0])["requests"]
        assert closed.requests <= counted <= closed.requests + 4
        opened = run_load(ports[2], 4, 0.5, 200, request_file, CORE)
        assert opened.errors == closed.errors == 0
        assert 80 <= opened.requests <= 101
        assert 0 < opened.p50_us <= opened.p99_us <= opened.max_us


def test_the_back_end_tells_what_the_proxy_added() -> None:
    with backend(CORE, 10) as ports:
        added = {"x-request-id": "1", "X-Forwarded-For": "2", "traceparent": "3"}
        with urllib.request.urlopen(urllib.request.Request(f"http://127.0.0.1:{ports[0]}/", headers=added)) as answer:
            assert answer.read() == b"x" * 10
        counted = backend_counters(ports[0])
        assert counted == {"requests": 1, **dict.fromkeys(("request_id", "forwarded_for", "traceparent"), 1), **NO_TLS}
        assert backend_counters(ports[0])["requests"] == 0


def test_mutual_tls_shakes_hands_once_per_connection(request_file: Path, tmp_path: Path) -> None:
    certificates.make(tmp_path)
    with backend(CORE, 10, tmp_path) as ports:
        kept = run_load(ports[4], 4, 0.2, 0, request_file, CORE, tmp_path)
        counted = backend_counters(ports[0])
        assert (kept.errors, kept.reconnects, counted["handshakes"]) == (0, 0, 4)
        assert kept.requests <= counted["requests"] <= kept.requests + 4
        request_file.write_bytes(SHAPES["connections"])
        brief = run_load(ports[5], 4, 0.2, 0, request_file, CORE, tmp_path)
        counted = backend_counters(ports[0])
        assert (brief.errors, counted["handshakes"]) == (0, counted["requests"])
        assert 0 < brief.requests <= counted["requests"]


def test_strangers_are_refused(request_file: Path, tmp_path: Path) -> None:
    ours, theirs = tmp_path / "ours", tmp_path / "theirs"
    for directory in (ours, theirs):
        directory.mkdir()
        certificates.make(directory)
    with backend(CORE, 10, ours) as ports:
        load = run_load(ports[3], 2, 0.1, 0, request_file, CORE, theirs)
        assert load.requests == 0 < load.errors
        assert backend_counters(ports[0])["requests"] == 0


def test_other_statuses_and_closed_connections_are_errors(request_file: Path) -> None:
    def serve(server: socket.socket) -> None:
        while True:
            try:
                connection, _ = server.accept()
            except OSError:
                return
            with connection:
                connection.recv(65536)
                connection.sendall(b"HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n")
                with contextlib.suppress(ConnectionResetError):  # the load's last connection ends when its time is up
                    connection.recv(65536)

    with socket.create_server(("127.0.0.1", 0)) as server:
        thread = threading.Thread(target=serve, args=(server,), daemon=True)
        thread.start()
        load = run_load(server.getsockname()[1], 1, 0.2, 0, request_file, CORE)
        server.shutdown(socket.SHUT_RDWR)
        thread.join(5)
    assert load.errors > load.requests > 0
    assert load.reconnects > 0


def test_latency_counts_from_the_time_a_request_was_due(request_file: Path) -> None:
    release = threading.Event()

    def serve(server: socket.socket) -> None:
        connection, _ = server.accept()
        with connection:
            connection.recv(65536)
            release.wait(0.3)  # a stall: everything due meanwhile has to wait for it
            while True:
                connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
                if not connection.recv(65536):
                    return

    with socket.create_server(("127.0.0.1", 0)) as server:
        thread = threading.Thread(target=serve, args=(server,), daemon=True)
        thread.start()
        load = run_load(server.getsockname()[1], 1, 0.6, 100, request_file, CORE)
        thread.join(5)
    assert load.p90_us > 100_000


def test_counters_are_json(request_file: Path) -> None:
    with backend(CORE, 10) as ports, urllib.request.urlopen(f"http://127.0.0.1:{ports[0]}/_counters") as answer:
        assert json.load(answer)["requests"] == [0, 0, 0]
