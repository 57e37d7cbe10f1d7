"""Settings and secrets to contexts; names of peers. What handshakes make of them: tests/dataplane/test_tls_*."""

from __future__ import annotations

import ssl
from pathlib import Path

import pytest

from mesh.model.match import StringKind, StringMatch
from mesh.model.secret import DownstreamTls, Secret, TlsCertificate, TrustBundle, UpstreamTls
from mesh.proxy.tls_context import TlsContext, TlsSettings, compile_contexts, secret_names
from tests.support.proxy_tls import Authority

ROOT = Authority()
SERVER = DownstreamTls(("a",))
A = ROOT.secret("a", "a.example.com")


def made(
    settings: TlsSettings, *secrets: Secret, previous: TlsContext | None = None
) -> tuple[TlsContext | None, dict[str, str]]:
    problems: dict[str, str] = {}
    before = {settings: previous} if previous is not None else {}
    contexts = compile_contexts([("l", settings)], {secret.name: secret for secret in secrets}, before, problems)
    return contexts.get(settings), problems


def test_a_context_lives_as_long_as_its_secrets() -> None:
    first, problems = made(SERVER, A)
    assert first is not None and problems == {}
    assert made(SERVER, A, previous=first)[0] is first
    renewed = ROOT.secret("a", "a.example.com")
    second, _ = made(SERVER, renewed, previous=first)
    assert second is not first and second is not None and second.sources == (renewed,)


@pytest.mark.parametrize(
    ("bad", "why"),
    [
        ((), "secret a: is not there"),
        ((Secret("a", trust=TrustBundle(ROOT.pem)),), "secret a: is not a certificate"),
        (
            (Secret("a", certificate=TlsCertificate(b"x", b"y")),),
            "secret a: there is no certificate (PEM) in its chain",
        ),
    ],
)
def test_a_bad_secret_leaves_what_was(bad: tuple[Secret, ...], why: str) -> None:
    assert made(SERVER, *bad) == (None, {"a": why})
    before, _ = made(SERVER, A)
    assert made(SERVER, *bad, previous=before) == (before, {"a": why})


def test_encrypted_keys_are_refused_without_asking_for_a_password() -> None:
    from cryptography.hazmat.primitives import serialization

    assert A.certificate is not None
    key = serialization.load_pem_private_key(A.certificate.key_pem, None)
    locked = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.BestAvailableEncryption(b"x")
    )
    _, problems = made(SERVER, Secret("a", certificate=TlsCertificate(A.certificate.chain_pem, locked)))
    assert "the private key is encrypted" in problems["a"]


def test_bad_names_are_the_resources_problem() -> None:
    settings = UpstreamTls(system_roots=True, subject_alt_names=(StringMatch(StringKind.REGEX, "("),))
    context, problems = made(settings)
    assert context is None and list(problems) == ["l"] and "subject_alt_names" in problems["l"]


def test_clusters_that_trust_the_same_share_a_context() -> None:
    one, _ = made(UpstreamTls(sni="a", system_roots=True))
    other, _ = made(UpstreamTls(sni="b", system_roots=True))
    assert one is not None and other is not None and one.ssl is other.ssl
    assert one.ssl.verify_mode is ssl.CERT_REQUIRED
    insecure, _ = made(UpstreamTls(insecure=True, subject_alt_names=(StringMatch(StringKind.EXACT, "a"),)))
    assert insecure is not None and insecure.ssl.verify_mode is ssl.CERT_NONE and insecure.names == ()


def test_client_certificates_are_required_or_merely_looked_at() -> None:
    trust = ROOT.trust("ca")
    required, _ = made(DownstreamTls(("a",), "ca", True), A, trust)
    optional, _ = made(DownstreamTls(("a",), "ca"), A, trust)
    none, _ = made(SERVER, A)
    assert [context.ssl.verify_mode for context in (required, optional, none) if context is not None] == [
        ssl.CERT_REQUIRED,
        ssl.CERT_OPTIONAL,
        ssl.CERT_NONE,
    ]


def test_names_of_secrets() -> None:
    assert secret_names(DownstreamTls(("a", "b"), "ca")) == ("a", "b", "ca")
    assert secret_names(UpstreamTls(trust_name="ca")) == ("ca",)


def test_files_are_read_where_the_proxy_runs(tmp_path: Path) -> None:
    assert A.certificate is not None
    (tmp_path / "ca").write_bytes(ROOT.pem)
    (tmp_path / "c").write_bytes(A.certificate.chain_pem)
    (tmp_path / "k").write_bytes(A.certificate.key_pem)
    settings = UpstreamTls(f"file-cert:{tmp_path}/c~{tmp_path}/k", f"file-root:{tmp_path}/ca")
    first, problems = made(settings)
    assert first is not None and problems == {} and len(first.ssl.get_ca_certs()) == 1
    assert made(settings, previous=first)[0] is first
    (tmp_path / "k").unlink()
    same, problems = made(settings, previous=first)
    assert same is first and list(problems) == ["l"] and "No such file" in problems["l"]


def test_settings_that_differ_in_names_share_the_dear_part() -> None:
    mine, roots = ROOT.secret("default", "spiffe://a"), ROOT.trust("ROOTCA")
    secrets = {"default": mine, "ROOTCA": roots}
    clients = [
        UpstreamTls(
            "default",
            "ROOTCA",
            sni=f"s{i}",
            alpn=("istio-http/1.1", "istio"),
            subject_alt_names=(StringMatch(StringKind.EXACT, f"spiffe://{i}"),),
        )
        for i in range(3)
    ]
    servers = [DownstreamTls(("default",), "ROOTCA", True, alpn) for alpn in (("istio",), ("istio-http/1.1", "istio"))]
    problems: dict[str, str] = {}
    found = compile_contexts([("x", each) for each in (*clients, *servers)], secrets, {}, problems, "spiffe://a")
    assert not problems and {context.principal for context in found.values()} == {"spiffe://a"}
    assert len({id(found[each].ssl) for each in clients}) == 1
    first = found[clients[0]]
    assert first.to_send(False) is first.ssl and first.to_send(True) is first.opaque is found[clients[1]].opaque
    one, both = (found[each] for each in servers)
    assert both.to_answer(("istio", "istio-http/1.1")) is both.answers["istio"]
    assert both.to_answer(("h2", "istio-http/1.1")) is both.answers["istio-http/1.1"]
    assert both.to_answer(("h2",)) is both.to_answer(()) is both.ssl
    assert one.to_answer(("istio",)) is one.answers["istio"]


def test_at_an_edge_the_servers_order_stands() -> None:
    context, _ = made(DownstreamTls(("a",), alpn=("h2", "http/1.1")), A)
    assert context is not None and context.to_answer(("http/1.1", "h2")) is context.ssl
    plain, _ = made(UpstreamTls("a", alpn=("http/1.1",)), A)
    assert plain is not None and plain.opaque is None and plain.to_send(True) is plain.ssl and plain.principal == ""
