"""Logs, exec and proxy through the real server, to a kubelet that speaks TLS and bytes."""

from __future__ import annotations

import http.server
import socket
import ssl
import threading
from collections.abc import Iterator

import pytest
from kubernetes import client

from mesh.sandbox.pki import Pki
from tests.support import apiserver as support
from tests.support.apiserver import ApiServer, call, pod
from tests.support.apiserver_peers import Kubelet

server = support.own_server
api = support.own_admin

PODS = "/api/v1/namespaces/default/pods"


@pytest.fixture
def kubelet(server: ApiServer, api: client.ApiClient) -> Iterator[Kubelet]:
    with Kubelet(Pki(server.state / "pki")).running() as started:
        state = {"addresses": [{"type": "InternalIP", "address": "127.0.0.1"}], "daemonEndpoints": {"kubeletEndpoint": {"Port": started.port}}}
        assert call(api, "POST", "/api/v1/nodes", {"metadata": {"name": "n1"}, "status": state})[0] == 201
        assert call(api, "POST", PODS, pod("p"))[0] == 201
        assert call(api, "POST", f"{PODS}/p/binding", {"target": {"name": "n1"}})[0] == 201
        yield started


def dial(server: ApiServer) -> ssl.SSLSocket:
    pki = Pki(server.state / "pki")
    context = ssl.create_default_context(cafile=str(pki.ca))
    context.load_cert_chain(pki.cert("admin"), pki.key("admin"))
    return context.wrap_socket(socket.create_connection(("127.0.0.1", server.port), timeout=10), server_hostname="localhost")


def until(sock: ssl.SSLSocket, end: bytes) -> bytes:
    data = b""
    while not data.endswith(end):
        piece = sock.recv(65536)
        assert piece, data
        data += piece
    return data


def upgrade(path: str, *more: str) -> bytes:
    lines = [f"POST {path} HTTP/1.1", "Host: x", "Connection: Upgrade", "Upgrade: SPDY/3.1", "X-Stream-Protocol-Version: v4.channel.k8s.io", "Content-Length: 0", *more]
    return "\r\n".join(lines).encode() + b"\r\n\r\n"


def test_logs_are_streamed_with_their_options(api: client.ApiClient, kubelet: Kubelet) -> None:
    code, text, _ = call(api, "GET", f"{PODS}/p/log", follow="true", tailLines="5")
    assert (code, text) == (200, "line 1\nline 2")
    assert kubelet.heads[0].startswith(b"GET /containerLogs/default/p/app?follow=true&tailLines=5 HTTP/1.1")
    code, said, _ = call(api, "GET", f"{PODS}/p/log", container="nope")
    assert code == 400 and said["message"] == "container nope is not valid for pod p"


def test_exec_is_a_byte_relay_after_101(server: ApiServer, api: client.ApiClient, kubelet: Kubelet) -> None:
    with dial(server) as sock:
        sock.sendall(upgrade(f"{PODS}/p/exec?command=sh&command=-c&command=a%20b&stdin=true&stdout=true") + b"early ")
        head = until(sock, b"EARLY ")
        assert head.startswith(b"HTTP/1.1 101 ") and b"Upgrade: SPDY/3.1" in head
        # In turns: one SSLSocket must not be read and written by two threads at once.
        payload = bytes(b for b in range(128) if b != ord("|")) * 64
        for _ in range(40):
            sock.sendall(payload + b"|")
            assert until(sock, b"|") == payload.upper() + b"|"
        sock.sendall(b"bye")
        assert until(sock, b"BYE") == b"BYE"
        assert sock.recv(1) == b""
    asked = kubelet.heads[0]
    assert asked.startswith(b"POST /exec/default/p/app?command=sh&command=-c&command=a+b&input=1&output=1 HTTP/1.1")
    assert b"X-Stream-Protocol-Version: v4.channel.k8s.io" in asked and b"Authorization" not in asked


def test_upgrade_works_as_second_request_of_a_connection(server: ApiServer, api: client.ApiClient, kubelet: Kubelet) -> None:
    with dial(server) as sock:
        sock.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
        until(sock, b"ok")
        sock.sendall(upgrade(f"{PODS}/p/portforward"))
        assert until(sock, b"\r\n\r\n").startswith(b"HTTP/1.1 101 ")
        assert kubelet.heads[0].startswith(b"POST /portForward/default/p HTTP/1.1")


def test_kubelets_refusal_reaches_the_client(server: ApiServer, api: client.ApiClient, kubelet: Kubelet) -> None:
    with dial(server) as sock:
        sock.sendall(upgrade(f"{PODS}/p/attach", "X-Refuse: yes"))
        assert until(sock, b"bad").startswith(b"HTTP/1.1 400 ")


def test_without_a_node_or_kubelet_the_answer_says_so(api: client.ApiClient) -> None:
    call(api, "POST", PODS, pod("lonely"))
    code, said, _ = call(api, "GET", f"{PODS}/lonely/log")
    assert code == 400 and said["message"] == "pod lonely does not have a host assigned"
    call(api, "POST", f"{PODS}/lonely/binding", {"target": {"name": "n9"}})
    assert call(api, "GET", f"{PODS}/lonely/log")[0] == 404
    state = {"addresses": [{"type": "InternalIP", "address": "127.0.0.1"}], "daemonEndpoints": {"kubeletEndpoint": {"Port": 1}}}
    call(api, "POST", "/api/v1/nodes", {"metadata": {"name": "n9"}, "status": state})
    code, said, _ = call(api, "GET", f"{PODS}/lonely/log")
    assert code == 503 and "error dialing the kubelet at 127.0.0.1:1" in said["message"]


def test_proxy_to_pods_and_services(api: client.ApiClient) -> None:
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = f"{self.path} auth={self.headers.get('authorization')}".encode()
            self.send_response(200)
            self.send_header("content-length", str(len(body)))
            self.send_header("x-app", "yes")
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            pass

    app = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=app.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    port = app.server_address[1]
    try:
        _, made, _ = call(api, "POST", PODS, pod("web"))
        made["status"]["podIP"] = "127.0.0.1"
        assert call(api, "PUT", f"{PODS}/web/status", made)[0] == 200
        code, text, headers = call(api, "GET", f"{PODS}/web:{port}/proxy/stats/prometheus", filter="a b")
        assert (code, text, headers["x-app"]) == (200, "/stats/prometheus?filter=a+b auth=None", "yes")
        service = {"metadata": {"name": "web"}, "spec": {"ports": [{"name": "http", "port": 80}]}}
        call(api, "POST", "/api/v1/namespaces/default/services", service)
        code, said, _ = call(api, "GET", "/api/v1/namespaces/default/services/web/proxy/")
        assert (code, said["message"]) == (503, 'no endpoints available for service "web"')
        piece = {"metadata": {"name": "web-1", "labels": {"kubernetes.io/service-name": "web"}}, "addressType": "IPv4", "endpoints": [{"addresses": ["127.0.0.1"]}], "ports": [{"name": "http", "port": port}]}
        call(api, "POST", "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices", piece)
        assert call(api, "GET", "/api/v1/namespaces/default/services/web:http/proxy/x")[1] == "/x auth=None"
    finally:
        app.shutdown()
        thread.join()
        app.server_close()
