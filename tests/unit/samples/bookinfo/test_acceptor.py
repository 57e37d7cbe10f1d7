import os
import signal
import socket
import subprocess
import sys
import threading

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
    command = [sys.executable, "-m", "samples.bookinfo.details", "0"]
    environment = {**os.environ, "BIND": "127.0.0.1"}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as process:
        assert process.stdout is not None
        line = process.stdout.readline()
        assert line.startswith("details listening on port ")
        with socket.create_connection(("127.0.0.1", int(line.split()[-1])), 5) as client:
            client.sendall(b"GET /health HTTP/1.1\r\nHost: h\r\n\r\n")
            assert b"Details is healthy" in client.recv(4096)
            process.send_signal(signal.SIGTERM)
            assert client.recv(10) == b""
        assert process.wait(10) == 0
