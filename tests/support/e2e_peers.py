"""Programs that run inside pods of the sandbox: a server of bulk data, WebSockets and banners, and its clients.

`python e2e_peers.py serve` listens on WEB_PORT (HTTP/1.1: `PUT /up`, `GET /down?bytes=N`, `GET /socket` as a WebSocket
that echoes) and on BANNER_PORTS (the server speaks first, as MySQL does). The clients print one JSON document:

    up HOST BYTES          down HOST BYTES          sockets HOST COUNT          banner HOST PORT COUNT
    abuse HOST PORT        malformed bytes in many shapes; what each was answered
    handshake HOST PORT    mutual TLS of the mesh tried without a certificate: who answered, and whether it let us in
    split URL COUNT        count answers by status and by the bookinfo pod that made them
    grpc-serve NAME PORT   grpc-call TARGET COUNT   a tiny gRPC echo; the target may be xds:///…

Plain sockets on trio on both ends, so that nothing but the proxies between them can be at fault.
"""

import base64
import hashlib
import http.client
import json
import os
import re
import socket as socketlib
import ssl
import sys
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from concurrent import futures
from functools import partial
from urllib.parse import parse_qs, urlsplit

import trio
from cryptography import x509

WEB_PORT = 8000
BANNER_PORTS = (3306, 3307)
CHUNK = 64 * 1024
CONNECTING = 64  # how many WebSocket handshakes a client has under way at once
_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"


def pattern(size: int) -> Iterator[bytes]:
    """`size` bytes of which no two chunks are equal: lost, repeated or swapped ones change the hash."""
    filler = hashlib.sha256(b"filler").digest() * (CHUNK // 32)
    for start in range(0, size, CHUNK):
        yield (start.to_bytes(8, "big") + filler[8:])[: min(CHUNK, size - start)]


# -- server -------------------------------------------------------------------------------------------------------------


async def serve() -> None:
    """Until killed."""
    handlers = {WEB_PORT: web, **dict.fromkeys(BANNER_PORTS, banner)}
    async with trio.open_nursery() as nursery:
        for port, handler in handlers.items():
            await nursery.start(trio.serve_tcp, partial(tolerant, handler), port)
        print("ready", flush=True)


async def tolerant(handler: Callable[[trio.SocketStream], Awaitable[None]], stream: trio.SocketStream) -> None:
    """A client may go away at any time."""
    try:
        await handler(stream)
    except trio.BrokenResourceError:
        return


async def web(stream: trio.SocketStream) -> None:
    """One HTTP/1.1 connection."""
    buffer = b""
    while True:
        while b"\r\n\r\n" not in buffer:
            data = await stream.receive_some(CHUNK)
            if not data:
                return
            buffer += data
        head, buffer = buffer.split(b"\r\n\r\n", 1)
        method, target, _ = head.split(b"\r\n")[0].decode().split(" ")
        headers = {name.strip().lower(): value.strip() for name, _, value in (line.partition(b":") for line in head.split(b"\r\n")[1:])}
        if headers.get(b"upgrade", b"").lower() == b"websocket":
            return await socket(stream, headers[b"sec-websocket-key"], buffer)
        if method == "GET" and target.startswith("/down"):
            size = int(parse_qs(urlsplit(target).query)["bytes"][0])
            await stream.send_all(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % size)
            for chunk in pattern(size):
                await stream.send_all(chunk)
            continue
        left, digest = int(headers.get(b"content-length", b"0")), hashlib.sha256()
        received = left
        while left:
            chunk, buffer = buffer[:left], buffer[left:]
            chunk = chunk or await stream.receive_some(min(left, CHUNK))
            if not chunk:
                return
            digest.update(chunk)
            left -= len(chunk)
        body = json.dumps({"bytes": received, "sha256": digest.hexdigest()}).encode()
        await stream.send_all(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%s" % (len(body), body))


async def socket(stream: trio.SocketStream, key: bytes, buffer: bytes) -> None:
    """A WebSocket that echoes short text messages until its client closes (RFC 6455)."""
    accept = base64.b64encode(hashlib.sha1(key + _GUID).digest())
    await stream.send_all(b"HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: Upgrade\r\nsec-websocket-accept: %s\r\n\r\n" % accept)
    while True:
        while (frame := parse_frame(buffer)) is None:
            data = await stream.receive_some(CHUNK)
            if not data:
                return
            buffer += data
        opcode, payload, buffer = frame
        await stream.send_all(bytes((0x80 | opcode, len(payload))) + payload)
        if opcode == 8:
            return


async def banner(stream: trio.SocketStream) -> None:
    """Speak first; then echo until the client half-closes."""
    await stream.send_all(b"J\x00\x00\x00\x0a8.0.36-banner\n")
    while data := await stream.receive_some(CHUNK):
        await stream.send_all(data)
    await stream.send_eof()


# -- clients ------------------------------------------------------------------------------------------------------------


async def up(host: str, size: int) -> dict[str, object]:
    """Send `size` bytes. Returns both ends' hashes."""
    digest = hashlib.sha256()
    started = time.monotonic()
    async with await trio.open_tcp_stream(host, WEB_PORT) as stream:
        await stream.send_all(b"PUT /up HTTP/1.1\r\nhost: %s\r\nconnection: close\r\ncontent-length: %d\r\n\r\n" % (host.encode(), size))
        for chunk in pattern(size):
            digest.update(chunk)
            await stream.send_all(chunk)
        head, body = await _answer(stream)
        while data := await stream.receive_some(CHUNK):
            body += data
    assert head.startswith(b"HTTP/1.1 200"), head
    return {"sent": digest.hexdigest(), "got": json.loads(body)["sha256"], "bytes": size, "seconds": time.monotonic() - started}


async def down(host: str, size: int) -> dict[str, object]:
    """Receive `size` bytes. Returns both ends' hashes."""
    wanted, digest, count = hashlib.sha256(), hashlib.sha256(), 0
    for chunk in pattern(size):
        wanted.update(chunk)
    started = time.monotonic()
    async with await trio.open_tcp_stream(host, WEB_PORT) as stream:
        await stream.send_all(b"GET /down?bytes=%d HTTP/1.1\r\nhost: %s\r\nconnection: close\r\n\r\n" % (size, host.encode()))
        head, body = await _answer(stream)
        assert head.startswith(b"HTTP/1.1 200"), head
        while body := body or await stream.receive_some(CHUNK):
            digest.update(body)
            count += len(body)
            body = b""
    return {"sent": wanted.hexdigest(), "got": digest.hexdigest(), "bytes": count, "seconds": time.monotonic() - started}


async def _answer(stream: trio.SocketStream) -> tuple[bytes, bytes]:
    buffer = b""
    while b"\r\n\r\n" not in buffer:
        data = await stream.receive_some(CHUNK)
        assert data, f"closed after {buffer!r}"
        buffer += data
    head, _, rest = buffer.partition(b"\r\n\r\n")
    return head, rest


async def sockets(host: str, count: int) -> dict[str, object]:
    """Open `count` WebSockets, keep all open, echo one message on each, close each. Returns how far they came."""
    done: Counter[str] = Counter()
    errors: Counter[str] = Counter()
    all_open, limit = trio.Event(), trio.CapacityLimiter(CONNECTING)
    started = time.monotonic()

    async def one(number: int) -> None:
        try:
            async with limit:
                stream = await trio.open_tcp_stream(host, WEB_PORT)
                key = base64.b64encode(os.urandom(16))
                await stream.send_all(
                    b"GET /socket HTTP/1.1\r\nhost: %s\r\nupgrade: websocket\r\nconnection: Upgrade\r\nsec-websocket-version: 13\r\nsec-websocket-key: %s\r\n\r\n"
                    % (host.encode(), key)
                )
                head, rest = await _answer(stream)
                assert head.startswith(b"HTTP/1.1 101"), head
                assert base64.b64encode(hashlib.sha1(key + _GUID).digest()) in head, head
            done["opened"] += 1
            if done["opened"] + errors.total() == count:
                all_open.set()
            await all_open.wait()
            text = f"message {number}".encode()
            await stream.send_all(masked(1, text))
            assert await _frame(stream, rest) == (1, text)
            done["echoed"] += 1
            await stream.send_all(masked(8, b"\x03\xe8"))
            assert await _frame(stream, b"") == (8, b"\x03\xe8")
            assert await stream.receive_some(1) == b""
            done["closed"] += 1
            await stream.aclose()
        except (OSError, AssertionError, trio.BrokenResourceError) as exc:
            errors[repr(exc)[:200]] += 1
            if done["opened"] + errors.total() >= count:
                all_open.set()

    async with trio.open_nursery() as nursery:
        for number in range(count):
            nursery.start_soon(one, number)
    return {**done, "errors": errors, "seconds": time.monotonic() - started}


async def _frame(stream: trio.SocketStream, buffer: bytes) -> tuple[int, bytes]:
    while (frame := parse_frame(buffer)) is None:
        data = await stream.receive_some(CHUNK)
        assert data, "closed inside a frame"
        buffer += data
    return frame[0], frame[1]


def masked(opcode: int, payload: bytes) -> bytes:
    """A client's frame of less than 126 bytes (RFC 6455 5.3)."""
    mask = os.urandom(4)
    return bytes((0x80 | opcode, 0x80 | len(payload))) + mask + bytes(byte ^ mask[i % 4] for i, byte in enumerate(payload))


def parse_frame(buffer: bytes) -> tuple[int, bytes, bytes] | None:
    """(opcode, payload, rest) of a frame of less than 126 bytes, or None as long as it is not whole."""
    if len(buffer) < 2:
        return None
    length, is_masked = buffer[1] & 0x7F, bool(buffer[1] & 0x80)
    start = 6 if is_masked else 2
    if len(buffer) < start + length:
        return None
    payload = buffer[start : start + length]
    if is_masked:
        payload = bytes(byte ^ buffer[2 + i % 4] for i, byte in enumerate(payload))
    return buffer[0] & 0x0F, payload, buffer[start + length :]


async def banners(host: str, port: int, count: int) -> dict[str, object]:
    """Connect, say nothing until the server's banner is here, echo, half-close. Returns the banners and waits in ms."""
    waits, texts, echoes = [], Counter[str](), Counter[str]()
    for _ in range(count):
        started = time.monotonic()
        async with await trio.open_tcp_stream(host, port) as stream:
            text = await stream.receive_some(CHUNK)
            waits.append(1000 * (time.monotonic() - started))
            texts[text.decode("latin-1")] += 1
            await stream.send_all(b"then the client")
            await stream.send_eof()
            echo = b""
            while data := await stream.receive_some(CHUNK):
                echo += data
            echoes[echo.decode()] += 1
    waits.sort()
    return {"banners": texts, "echoes": echoes, "median_ms": waits[len(waits) // 2], "worst_ms": waits[-1]}


H2C = b"GET / HTTP/1.1\r\nhost: a\r\nconnection: upgrade, http2-settings\r\nupgrade: h2c\r\nhttp2-settings: %b\r\n\r\n"
MALFORMED = {
    "nothing": b"",
    "noise": bytes(range(256)) * 64,
    "zeros": bytes(4096),
    "no such method line": b"THIS IS NOT HTTP\r\n\r\n",
    "bad version": b"GET / HTTP/9.9\r\nhost: a\r\n\r\n",
    "no host": b"GET / HTTP/1.1\r\n\r\n",
    "two lengths": b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\nx",
    "length and chunked": b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 4\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
    "bad chunk": b"POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\nZZ\r\nhello\r\n",
    "space before colon": b"GET / HTTP/1.1\r\nhost : a\r\n\r\n",
    "NUL in a header": b"GET / HTTP/1.1\r\nhost: a\r\nx: a\0b\r\n\r\n",
    "settings that are no frame": H2C % b"AAAA",
    "settings that are no base64": H2C % b"A",
    "bare LF smuggling": b"GET / HTTP/1.1\nhost: a\n\nGET /smuggled HTTP/1.1\r\nhost: a\r\n\r\n",
    "endless header": b"GET / HTTP/1.1\r\nhost: a\r\nx: " + b"y" * 300_000,
    "half a head": b"GET / HTTP/1.1\r\nho",
    "half an HTTP/2 preface": b"PRI * HTTP/2.0\r\n\r\nSM",
    "HTTP/2 and noise": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\xff" * 400,
    "half a ClientHello": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\x11" * 40,
    "a ClientHello of nonsense": b"\x16\x03\x01\x00\x20\x01\x00\x00\x1c\x03\x03" + b"\x99" * 26,
}
ANSWER_SECONDS = 12.0


async def abuse(host: str, port: int) -> dict[str, str]:
    """Send each malformed thing on a connection of its own and half-close. Returns the start of each answer, "closed" for
    none, "stuck" when the connection was neither answered nor closed in time."""
    found: dict[str, str] = {}

    async def one(name: str, data: bytes) -> None:
        answer = b""
        with trio.move_on_after(ANSWER_SECONDS) as scope:
            try:
                async with await trio.open_tcp_stream(host, port) as stream:
                    await stream.send_all(data)
                    await stream.send_eof()
                    while chunk := await stream.receive_some(CHUNK):
                        answer = (answer + chunk)[:200]
            except OSError as exc:
                answer = answer or f"refused: {exc}".encode()
            except trio.BrokenResourceError:
                pass  # reset is one way to close
        found[name] = "stuck" if scope.cancelled_caught else answer.decode("latin-1") or "closed"

    async with trio.open_nursery() as nursery:
        for name, data in MALFORMED.items():
            nursery.start_soon(one, name, data)
    return found


def handshake(host: str, port: int) -> dict[str, object]:
    """A TLS connection as a sidecar would make it, but for the certificate. Returns the server's names, its ALPN, and the answer to a request."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.set_alpn_protocols(["istio"])
    with socketlib.create_connection((host, port), timeout=10) as plain, context.wrap_socket(plain, server_hostname=host) as secured:
        found = x509.load_der_x509_certificate(secured.getpeercert(binary_form=True) or b"")
        names = found.extensions.get_extension_for_class(x509.SubjectAlternativeName).value.get_values_for_type(x509.UniformResourceIdentifier)
        try:
            secured.sendall(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n")
            answer = secured.recv(CHUNK).decode("latin-1") or "refused"
        except (ssl.SSLError, ConnectionError):
            answer = "refused"  # RFC 8446 4.4.2.4: an alert, after a handshake that looked done from here
        return {"names": names, "alpn": secured.selected_alpn_protocol(), "answer": answer}


def split(url: str, count: int) -> dict[str, object]:
    """GET `url` over one connection. Returns answers by status, and by the version in the reviews pod's name."""
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=20)
    statuses, versions = Counter[str](), Counter[str]()
    for _ in range(count):
        connection.request("GET", parts.path)
        answer = connection.getresponse()
        found = re.search(r"reviews-(v\d)-", answer.read().decode())
        statuses[str(answer.status)] += 1
        versions[found[1] if found else "none"] += 1
    return {"statuses": statuses, "versions": versions}


def grpc_serve(name: str, port: int) -> None:
    """A gRPC server whose only method answers with its name."""
    import grpc

    server = grpc.server(futures.ThreadPoolExecutor(4))
    handler = grpc.unary_unary_rpc_method_handler(lambda _request, _context: name.encode())
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("echo.Echo", {"Name": handler}),))
    server.add_insecure_port(f"0.0.0.0:{port}")
    server.start()
    server.wait_for_termination()


def grpc_call(target: str, count: int) -> dict[str, int]:
    """Call the echo `count` times. Returns answers by the name of who gave them."""
    import grpc

    with grpc.insecure_channel(target) as channel:
        call = channel.unary_unary("/echo.Echo/Name", bytes, bytes)
        return Counter(call(b"", timeout=30, wait_for_ready=True).decode() for _ in range(count))


def main(verb: str, *args: str) -> None:
    """Run one program."""
    if verb == "serve":
        trio.run(serve)
    elif verb == "grpc-serve":
        grpc_serve(args[0], int(args[1]))
    elif verb == "grpc-call":
        print(json.dumps(grpc_call(args[0], int(args[1]))))
    elif verb == "handshake":
        print(json.dumps(handshake(args[0], int(args[1]))))
    elif verb == "split":
        print(json.dumps(split(args[0], int(args[1]))))
    else:
        clients: dict[str, Callable[..., Awaitable[object]]] = {"up": up, "down": down, "sockets": sockets, "banner": banners, "abuse": abuse}
        print(json.dumps(trio.run(clients[verb], args[0], *map(int, args[1:]))))


if __name__ == "__main__":
    main(*sys.argv[1:])
