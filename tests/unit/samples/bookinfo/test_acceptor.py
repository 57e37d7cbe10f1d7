import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from samples.bookinfo.acceptor import Acceptor, listen
from samples.bookinfo.web import Request, Response, Service


def test_stop_lets_the_answer_in_progress_end_and_closes_idle_connections() -> None:
    entered, release = threading.Event(), threading.Event()

    def slow(_: Request) -> Response:
        entered.set()
        assert release.wait(10)
        return Response(200, b"done", "text/plain")

    listener = listen(0, "127.0.0.1")
    port = listener.getsockname()[1]
    acceptor = Acceptor(listener, Service("slow", slow).session)
    thread = threading.Thread(target=acceptor.run)
    thread.start()
    with socket.create_connection(("127.0.0.1", port), 10) as idle, socket.create_connection(("127.0.0.1", port), 10) as busy:
        busy.sendall(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n")
        assert entered.wait(10)
        acceptor.stop()
        assert idle.recv(10) == b""
        assert acceptor.is_stopping
        release.set()
        answer = b"".join(iter(lambda: busy.recv(4096), b""))
    thread.join(10)
    assert not thread.is_alive()
    assert answer.endswith(b"connection: close\r\n\r\ndone")


def test_all_addresses_means_both_families() -> None:
    with listen(0) as listener:
        port = listener.getsockname()[1]
        for host in ("127.0.0.1", "::1"):
            with socket.create_connection((host, port), 5):
                pass


def test_service_says_its_port_answers_and_ends_on_sigterm() -> None:
    with _service("-m", "samples.bookinfo.details", "0") as process, _client(process) as client:
        client.sendall(b"GET /health HTTP/1.1\r\nHost: h\r\n\r\n")
        assert b"Details is healthy" in client.recv(4096)
        process.send_signal(signal.SIGTERM)
        assert client.recv(10) == b""
        assert process.wait(10) == 0


def test_a_signal_that_does_not_interrupt_poll_ends_the_service_too() -> None:
    # As when it comes between Python's last look at its signals and the system call.
    program = """
import os, signal, threading
from pathlib import Path
from samples.bookinfo.acceptor import run_service

main_waits_in = Path(f"/proc/self/task/{os.getpid()}/wchan")

def interrupt_another_thread(*_):
    while "poll" not in main_waits_in.read_text():
        pass
    signal.pthread_kill(threading.get_ident(), signal.SIGINT)

run_service("other", 0, interrupt_another_thread)
"""
    with _service("-c", program) as process, _client(process) as client:
        assert client.recv(10) == b""
        assert process.wait(10) == 0


@contextmanager
def _service(*arguments: str) -> Iterator["subprocess.Popen[str]"]:
    environment = {**os.environ, "BIND": "127.0.0.1"}
    with subprocess.Popen([sys.executable, *arguments], stdout=subprocess.PIPE, text=True, env=environment) as process:
        try:
            yield process
        finally:
            process.kill()


def _client(process: "subprocess.Popen[str]") -> socket.socket:
    assert process.stdout is not None
    line = process.stdout.readline()
    assert " listening on port " in line
    return socket.create_connection(("127.0.0.1", int(line.split()[-1])), 5)
