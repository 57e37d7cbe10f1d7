"""Certificates of a test's own authority, and TLS peers on 127.0.0.1."""

from __future__ import annotations

import ipaddress
import os
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from functools import cached_property

import trio
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from mesh.model.secret import Secret, TlsCertificate, TrustBundle
from tests.support.proxy import Upstream


class Authority:
    """A root that signs leaves with the names a test wants."""

    def __init__(self, name: str = "test root") -> None:
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._certificate = self._sign(self._name, self._key, (), is_authority=True)

    @cached_property
    def pem(self) -> bytes:
        return self._certificate.public_bytes(serialization.Encoding.PEM)

    def issue(self, *names: str, lifetime: timedelta = timedelta(days=1)) -> TlsCertificate:
        """A leaf for DNS names, IP addresses and URIs."""
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, names[0][:60])])
        leaf = self._sign(subject, key, tuple(_name(text) for text in names), lifetime=lifetime)
        private = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        return TlsCertificate(leaf.public_bytes(serialization.Encoding.PEM), private)

    def sign(self, csr_pem: str, *names: str, lifetime: timedelta = timedelta(days=1)) -> str:
        """A leaf (PEM) for a request's key."""
        csr = x509.load_pem_x509_csr(csr_pem.encode())
        assert csr.is_signature_valid
        leaf = self._sign(
            x509.Name([]), csr.public_key(), tuple(_name(text) for text in names), lifetime=lifetime  # type: ignore[arg-type]
        )
        return leaf.public_bytes(serialization.Encoding.PEM).decode()

    def secret(self, secret_name: str, *names: str) -> Secret:
        return Secret(secret_name, certificate=self.issue(*names))

    def trust(self, secret_name: str) -> Secret:
        return Secret(secret_name, trust=TrustBundle(self.pem))

    def client_context(self, certificate: TlsCertificate | None = None, alpn: tuple[str, ...] = ()) -> ssl.SSLContext:
        """For a client that trusts this authority alone."""
        context = ssl.create_default_context(cadata=self.pem.decode())
        if certificate is not None:
            load(context, certificate)
        if alpn:
            context.set_alpn_protocols(list(alpn))
        return context

    def server_context(self, *names: str, alpn: tuple[str, ...] = ()) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        load(context, self.issue(*names))
        if alpn:
            context.set_alpn_protocols(list(alpn))
        return context

    def _sign(
        self,
        subject: x509.Name,
        key: ec.EllipticCurvePrivateKey | ec.EllipticCurvePublicKey,
        names: tuple[x509.GeneralName, ...],
        is_authority: bool = False,
        lifetime: timedelta = timedelta(days=1),
    ) -> x509.Certificate:
        now = datetime.now(UTC)
        builder = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._name)
            .public_key(key if isinstance(key, ec.EllipticCurvePublicKey) else key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(days=2))
            .not_valid_after(now + lifetime)
            .add_extension(x509.BasicConstraints(is_authority, None), critical=True)
        )
        if names:
            builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
        return builder.sign(self._key, hashes.SHA256())


def load(context: ssl.SSLContext, certificate: TlsCertificate) -> None:
    descriptor = os.memfd_create("test")
    try:
        os.write(descriptor, certificate.chain_pem + certificate.key_pem)
        context.load_cert_chain(f"/proc/self/fd/{descriptor}")
    finally:
        os.close(descriptor)


@asynccontextmanager
async def serving_tls(
    serve: Callable[[trio.abc.Stream, Upstream], Awaitable[None]], context: ssl.SSLContext
) -> AsyncIterator[Upstream]:
    """Like `proxy.serving`, over TLS. `names`: the server names that clients sent."""
    listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
    upstream = Upstream(listeners[0].socket.getsockname()[1])

    async def handle(raw: trio.SocketStream) -> None:
        upstream.connections += 1
        stream = trio.SSLStream(raw, context, server_side=True, https_compatible=False)
        try:
            async with stream:
                await serve(stream, upstream)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            pass  # refused by the client, or closed first

    async with trio.open_nursery() as nursery:
        nursery.start_soon(trio.serve_listeners, handle, listeners)
        try:
            yield upstream
        finally:
            nursery.cancel_scope.cancel()


@asynccontextmanager
async def tls_client(
    port: int, context: ssl.SSLContext, server_name: str, https_compatible: bool = False
) -> AsyncIterator[trio.SSLStream[trio.SocketStream]]:
    """A client that has shaken hands."""
    raw = await trio.open_tcp_stream("127.0.0.1", port)
    stream = trio.SSLStream(raw, context, server_hostname=server_name, https_compatible=https_compatible)
    try:
        with trio.fail_after(10):
            await stream.do_handshake()
        yield stream
    finally:
        await trio.aclose_forcefully(stream)


def _name(text: str) -> x509.GeneralName:
    if "://" in text:
        return x509.UniformResourceIdentifier(text)
    try:
        return x509.IPAddress(ipaddress.ip_address(text))
    except ValueError:
        return x509.DNSName(text)
