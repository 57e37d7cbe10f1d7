"""The encrypting channel against OpenSSL's own stream, over a socket pair. Whole proxies: tests/dataplane/test_tls_*."""

from __future__ import annotations

import random
import socket
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import trio

from mesh.proxy.poller import READ, WRITE, Parker, Poller
from mesh.proxy.tls import TlsChannel, TlsError, TlsRefused, TlsTruncated, reason_of, security_of
from tests.support.proxy_tls import Authority

ROOT = Authority()
Peer = trio.SSLStream[trio.SocketStream]


@asynccontextmanager
async def pair(
    version: ssl.TLSVersion = ssl.TLSVersion.TLSv1_3, context: ssl.SSLContext | None = None, shakes: bool = True
) -> AsyncIterator[tuple[TlsChannel, Peer]]:
    """A client channel and the server it talks to."""
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    server = ROOT.server_context("a.example.com")
    server.maximum_version = version
    poller = Poller()
    raw = trio.SocketStream(trio.socket.from_stdlib_socket(theirs))
    peer = trio.SSLStream(raw, server, server_side=True)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(poller.run)
        parker = Parker()
        channel = TlsChannel(
            poller.open(ours, parker),
            context or ROOT.client_context(),
            server_side=False,
            server_name="a.example.com",
        )
        try:
            with trio.fail_after(10):
                if shakes:
                    async with trio.open_nursery() as both:
                        both.start_soon(peer.do_handshake)
                        both.start_soon(channel.handshake)
                yield channel, peer
        finally:
            channel.close()
            await trio.aclose_forcefully(peer)
            nursery.cancel_scope.cancel()
    poller.close()


async def receive(channel: TlsChannel, count: int, size: int = 16_384) -> bytes:
    data = b""
    while len(data) < count:
        data += await channel.recv(size)
    return data


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
async def test_bytes_arrive_however_they_are_asked_for(version: ssl.TLSVersion) -> None:
    rng = random.Random(7)
    sent = rng.randbytes(300_000)
    async with pair(version) as (channel, peer):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(peer.send_all, sent)
            got = b""
            while len(got) < len(sent):
                got += await channel.recv(rng.choice((1, 100, 16_384, 16_385, 262_144)))
        assert got == sent


async def test_what_openssl_has_decrypted_already_shows_as_readable() -> None:
    async with pair() as (channel, peer):
        await peer.send_all(b"x" * 10)
        assert await channel.recv(4) == b"xxxx"
        assert channel.is_readable and channel.try_recv(100) == b"x" * 6
        assert channel.try_recv(100) is None and not channel.is_readable


async def test_session_tickets_are_no_bytes_and_no_end() -> None:
    async with pair() as (channel, peer):
        await channel.send_all(b"hello")
        assert await peer.receive_some(100) == b"hello"  # the tickets are on their way, or here
        assert channel.is_quiet() and channel.is_quiet()
        await peer.send_all(b"!")
        assert not channel.is_quiet()


# One chunk, whose very end the kernel does not take; and many.
@pytest.mark.parametrize("size", [65_536, 600_000])
async def test_a_byte_counts_as_sent_only_with_its_ciphertext(size: int) -> None:
    sent = random.Random(8).randbytes(size)
    async with pair() as (channel, peer):
        # Little room, so that little blocks: the test has seconds, and may get few of the processor's.
        channel.socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 16_384)
        done = 0
        while (taken := channel.try_send(sent, done)) > 0:
            done += taken
        assert taken == -1 and 0 < done < len(sent)
        got = bytearray()

        async def drain() -> None:
            while len(got) < len(sent):
                got.extend(await peer.receive_some(65_536))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(drain)
            while done < len(sent):
                taken = channel.try_send(sent, done)
                if taken < 0:
                    await channel.wait(WRITE)
                else:
                    done += taken
        assert bytes(got) == sent
        assert channel.try_send(b"") == 0


async def test_close_notify_is_the_end_and_stays_it() -> None:
    async with pair() as (channel, peer):
        await peer.send_all(b"last")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(peer.aclose)
            assert await receive(channel, 4) == b"last"
            assert await channel.recv(100) == b""
            assert channel.try_recv(100) == b"" and channel.hung_up and not channel.is_quiet()
            channel.close()


async def test_an_end_without_close_notify_may_be_an_attackers() -> None:
    async with pair() as (channel, peer):
        await peer.send_all(b"half")
        await peer.transport_stream.aclose()
        assert await receive(channel, 4) == b"half"
        with pytest.raises(TlsTruncated):
            await channel.recv(100)


async def test_after_our_end_theirs_can_still_be_read() -> None:
    async with pair() as (channel, peer):
        await peer.send_all(b"early")
        assert await channel.recv(2) == b"ea"
        channel.shutdown_send()
        assert await receive(channel, 3) == b"rly"
        assert await peer.receive_some(100) == b""


async def test_rubbish_is_an_error_with_a_reason() -> None:
    async with pair() as (channel, peer):
        await peer.transport_stream.send_all(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        with pytest.raises(TlsError, match="WRONG_VERSION_NUMBER"):
            await channel.recv(100)


async def test_a_peer_that_leaves_or_cannot_be_verified_fails_the_handshake() -> None:
    async with pair(shakes=False) as (channel, peer):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(peer.transport_stream.aclose)
            with pytest.raises((TlsError, ConnectionError)):
                await channel.handshake()
    async with pair(context=Authority("another").client_context(), shakes=False) as (channel, peer):

        async def serve() -> None:
            with pytest.raises(trio.BrokenResourceError):
                await peer.do_handshake()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(serve)
            with pytest.raises(TlsError) as caught:
                await channel.handshake()
            assert caught.value.strerror == (
                "TLS_error:|CERTIFICATE_VERIFY_FAILED:unable to get local issuer certificate:TLS_error_end"
            )


async def test_the_plain_channel_is_used_up() -> None:
    ours, theirs = socket.socketpair()
    poller = Poller()
    plain = poller.open(ours, Parker())
    channel = TlsChannel(plain, ROOT.client_context(), server_side=False, server_name="a.example.com")
    plain.close()
    assert not plain.is_open and channel.is_open and ours.fileno() >= 0
    channel.close()
    assert ours.fileno() < 0
    theirs.close()
    poller.close()


def test_reasons_are_openssls_words() -> None:
    error = ssl.SSLError()
    error.reason = "NO_SHARED_CIPHER"
    assert reason_of(error) == "NO_SHARED_CIPHER"


async def test_a_look_ahead_keeps_what_it_finds() -> None:
    async with pair() as (channel, peer):
        assert not channel.peek()
        await peer.send_all(b"hello")
        with trio.fail_after(5):
            while not channel.peek():
                await channel.wait(READ)
        assert channel.peek()
        assert channel.try_recv(2) == b"he" and channel.peek()
        assert channel.try_recv(10) == b"llo" and not channel.peek()
        await trio.aclose_forcefully(peer)
        with trio.fail_after(5):
            while not channel.peek():
                await channel.wait(READ)
        with pytest.raises(TlsTruncated):
            channel.try_recv(1)


async def test_a_server_that_refuses_our_certificate_is_told_from_one_that_breaks() -> None:
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    server = ROOT.server_context("a.example.com")
    server.verify_mode = ssl.CERT_REQUIRED
    server.load_verify_locations(cadata=ROOT.pem.decode())
    theirs.setblocking(False)
    poller = Poller()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(poller.run)
        peer = TlsChannel(poller.open(theirs, Parker()), server, server_side=True)
        channel = TlsChannel(
            poller.open(ours, Parker()), ROOT.client_context(), server_side=False, server_name="a.example.com"
        )

        async def serve() -> None:
            with pytest.raises(TlsError, match="PEER_DID_NOT_RETURN_A_CERTIFICATE"):
                await peer.handshake()

        nursery.start_soon(serve)
        with trio.fail_after(5):
            await channel.handshake()  # TLS 1.3: over for us before the server has seen our certificate
            for _ in range(2):  # and said again to whoever asks again
                with pytest.raises(TlsRefused, match="TLSV13_ALERT_CERTIFICATE_REQUIRED"):
                    await channel.recv(100)
        channel.close()
        peer.close()
        nursery.cancel_scope.cancel()
    poller.close()


def test_the_same_facts_are_the_same_object() -> None:
    found = security_of("spiffe://b", "spiffe://a", "TLSv1.3")
    assert found is security_of("spiffe://b", "spiffe://a", "TLSv1.3") and found.is_mutual
    assert not security_of("", "spiffe://a", "TLSv1.3").is_mutual
