"""TLS contexts: settings and secrets made into what OpenSSL shakes hands with, and the check of who answered.

A context is made anew when one of its secrets changes and serves the handshakes from then on; connections keep the
one they began with. Secrets that make no context leave the last one that worked in force. Files are read again whenever the configuration changes.
Settings that differ in names alone share OpenSSL's part: a mesh has thousands of clusters, and one certificate for all of them.
"""

from __future__ import annotations

import ssl
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from ssl import SSLContext
from typing import Final
from weakref import WeakValueDictionary

from mesh.model.secret import FILE_CERTIFICATE, FILE_ROOTS, WORKLOAD_CERTIFICATE, DownstreamTls, Secret, UpstreamTls
from mesh.proxy.credentials import SecretError, dns_names, find_secret, load_certificate, load_trust
from mesh.proxy.match import CompileError
from mesh.proxy.peer_names import NameTest, alternative_names, name_tests
from mesh.proxy.tls import Security, TlsChannel, TlsError, security_of

VERSIONS: Final = {"1.2": ssl.TLSVersion.TLSv1_2, "1.3": ssl.TLSVersion.TLSv1_3}
"""Lowest versions that a server can be asked for."""


_FILES = (FILE_CERTIFICATE, FILE_ROOTS)
_MESH = "istio"
_MESH_HTTP = "istio-http/"
"""How the mesh's own ALPN names begin: of all of them, and of those that promise HTTP."""


@dataclass(frozen=True, slots=True)
class TlsContext:
    """sources: the secrets it was made of. names: one of them must hold for the peer's certificate; () = any peer.

    opaque: a client's, for bytes that are not HTTP: it leaves `istio-http/…` out; None = `ssl`. answers: a server's, by the
    protocol that it agrees to; empty = `ssl` picks by its own order. principal: the SPIFFE id of our own certificate, if it has one.
    """

    ssl: SSLContext
    sources: tuple[Secret, ...] = ()
    names: tuple[NameTest, ...] = ()
    opaque: SSLContext | None = None
    answers: Mapping[str, SSLContext] = field(default_factory=dict)
    principal: str = ""

    def to_send(self, is_opaque: bool) -> SSLContext:
        """What a client shakes hands with."""
        return self.opaque if is_opaque and self.opaque is not None else self.ssl

    def to_answer(self, offered: Sequence[str]) -> SSLContext:
        """What a server answers a ClientHello with: in the mesh the client's first choice holds, as for the filter chains."""
        return next((self.answers[name] for name in offered if name in self.answers), self.ssl)

    def verify_peer(self, channel: TlsChannel) -> Security:
        """Who is there; the channel keeps it. Raises: TlsError: the certificate is valid, but for somebody else."""
        certificate = channel.tls.getpeercert() or {}
        names = alternative_names(certificate)
        # Without a certificate the handshake has failed already, unless none is needed.
        if self.names and certificate and not any(test(kind, value.encode()) for test in self.names for kind, value in names):
            told = ", ".join(value for _, value in names) or "none"
            raise TlsError(f"CERTIFICATE_VERIFY_FAILED:verify SAN list: the certificate's names are {told}")
        peer = next((value for kind, value in names if kind == "URI"), "")
        channel.security = security_of(peer, self.principal, channel.tls.version() or "")
        return channel.security


TlsSettings = DownstreamTls | UpstreamTls


def compile_contexts(
    wanted: Iterable[tuple[str, TlsSettings]],
    secrets: Mapping[str, Secret],
    previous: Mapping[TlsSettings, TlsContext],
    problems: dict[str, str],
    principal: str = "",
) -> dict[TlsSettings, TlsContext]:
    """Contexts for all settings, each with the name of the listener or cluster that has them.

    Args: principal: SPIFFE id of the workload's own certificate.
    A bad or missing secret, or else the resource, is named in `problems`, and the previous context stays.
    """
    contexts: dict[TlsSettings, TlsContext] = {}
    for resource, settings in wanted:
        if settings in contexts:
            continue
        before = previous.get(settings)
        try:
            sources = tuple(find_secret(name, secrets) for name in secret_names(settings))
            if before is not None and before.sources == sources:
                contexts[settings] = before
            else:
                mine = principal if WORKLOAD_CERTIFICATE in secret_names(settings) else ""
                contexts[settings] = replace(_make(settings, sources), principal=mine)
        except CompileError as exc:
            # A file has no resource of its own that could be refused.
            guilty = exc.secret if isinstance(exc, SecretError) else resource
            problems[resource if guilty.startswith(_FILES) else guilty] = str(exc)
            if before is not None:
                contexts[settings] = before
    return contexts


def secret_names(settings: TlsSettings) -> tuple[str, ...]:
    """Certificates first, then the trust, without empty names."""
    if isinstance(settings, UpstreamTls):
        names: tuple[str, ...] = (settings.certificate_name, settings.trust_name)
    else:
        names = (*settings.certificate_names, settings.trust_name)
    return tuple(filter(None, names))


def _make(settings: TlsSettings, sources: tuple[Secret, ...]) -> TlsContext:
    if isinstance(settings, UpstreamTls):
        return _client(settings, sources)
    return _server(settings, sources)


def _client(settings: UpstreamTls, sources: tuple[Secret, ...]) -> TlsContext:
    trust = next((secret for secret in sources if secret.name == settings.trust_name), None)
    certificate = next((secret for secret in sources if secret.name == settings.certificate_name), None)

    def make(alpn: tuple[str, ...]) -> ssl.SSLContext:
        if not sources:
            return _shared_client_context(settings.system_roots, settings.insecure, alpn)
        return _shared(
            (settings.system_roots, settings.insecure, alpn, certificate, trust),
            lambda: _client_context(settings.system_roots, settings.insecure, alpn, certificate, trust),
        )

    bytes_alpn = tuple(name for name in settings.alpn if not name.startswith(_MESH_HTTP))
    opaque = make(bytes_alpn) if bytes_alpn != settings.alpn else None
    names = settings.subject_alt_names
    if trust is not None and trust.trust is not None:
        names += trust.trust.subject_alt_names
    return TlsContext(make(settings.alpn), sources, () if settings.insecure else name_tests(names), opaque)


def _shared(key: tuple[object, ...], make: Callable[[], ssl.SSLContext]) -> ssl.SSLContext:
    context = _contexts.get(key)
    if context is None:
        context = _contexts[key] = make()
    return context


_contexts: WeakValueDictionary[tuple[object, ...], ssl.SSLContext] = WeakValueDictionary()
"""What some `TlsContext` still has."""


def mutual_contexts(certificate: Secret, trust: Secret) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """(client's, server's) of one workload. Raises: SecretError."""
    settings = DownstreamTls((certificate.name,), trust.name, require_client_certificate=True)
    return _client_context(False, False, (), certificate, trust), _server_context(settings, trust, [certificate])


@lru_cache(maxsize=8)
def _shared_client_context(system_roots: bool, insecure: bool, alpn: tuple[str, ...]) -> ssl.SSLContext:
    # One for all clusters without secrets of their own: the system's roots are a megabyte and 20 ms.
    return _client_context(system_roots, insecure, alpn)


def _client_context(
    system_roots: bool,
    insecure: bool,
    alpn: tuple[str, ...],
    certificate: Secret | None = None,
    trust: Secret | None = None,
) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False  # Envoy's way: names are checked where names are configured
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if insecure:
        context.verify_mode = ssl.CERT_NONE
    elif system_roots:
        context.load_default_certs()
    if trust is not None:
        load_trust(context, trust)
    if certificate is not None:
        load_certificate(context, certificate)
    if alpn:
        context.set_alpn_protocols(list(alpn))
    return context


def _server(settings: DownstreamTls, sources: tuple[Secret, ...]) -> TlsContext:
    certificates = [secret for secret in sources if secret.name in settings.certificate_names]
    trust = next((secret for secret in sources if secret.name == settings.trust_name), None)
    if len(certificates) == 1:
        answers = {
            name: _shared_server_context(replace(settings, alpn=(name,)), trust, certificates)
            for name in settings.alpn
            if any(each.startswith(_MESH) for each in settings.alpn)
        }
        context = _shared_server_context(settings, trust, certificates)
    else:
        answers = {}
        context = _server_context(settings, trust, certificates)
        context.sni_callback = _chooser(
            [(_server_context(settings, trust, [secret]), dns_names(secret)) for secret in certificates]
        )
    names = trust.trust.subject_alt_names if trust is not None and trust.trust is not None else ()
    return TlsContext(context, sources, name_tests(names), answers=answers)


def _shared_server_context(settings: DownstreamTls, trust: Secret | None, certificates: list[Secret]) -> ssl.SSLContext:
    return _shared((settings, trust, *certificates), lambda: _server_context(settings, trust, certificates))


def _server_context(settings: DownstreamTls, trust: Secret | None, certificates: list[Secret]) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = VERSIONS[settings.min_version]
    # A ticket costs a quarter of a handshake, and connections live long.
    context.num_tickets = 0
    context.options |= ssl.OP_NO_TICKET | ssl.OP_NO_RENEGOTIATION
    # OpenSSL keeps one certificate per type of key; the first of each type is the one for unknown names.
    for secret in reversed(certificates):
        load_certificate(context, secret)
    if trust is not None:
        load_trust(context, trust)
        context.verify_mode = ssl.CERT_REQUIRED if settings.require_client_certificate else ssl.CERT_OPTIONAL
    if settings.alpn:
        context.set_alpn_protocols(list(settings.alpn))
    return context


def _chooser(
    contexts: list[tuple[ssl.SSLContext, frozenset[str]]],
) -> Callable[[ssl.SSLObject, str | None, ssl.SSLContext], None]:
    # The certificate for a server name: the first with the very name, then the first with a wildcard for it.
    def choose(connection: ssl.SSLObject, name: str | None, _default: ssl.SSLContext) -> None:
        if not name:
            return
        for wanted in (name.lower(), "*." + name.lower().partition(".")[2]):
            for context, names in contexts:
                if wanted in names:
                    connection.context = context
                    return

    return choose
