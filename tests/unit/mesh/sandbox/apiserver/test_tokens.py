from __future__ import annotations

import base64
import json
from pathlib import Path

import pytest

from mesh.sandbox import pki
from mesh.sandbox.apiserver.tokens import BadToken, Bound, Claims, TokenSigner, discovery

NOW = 1_893_456_000
CLAIMS = Claims("ns", "sa", "u1", ("aud",), "jti", Bound("Pod", "p", "u2"), Bound("Node", "n", "u3"))


@pytest.fixture(scope="module")
def signer(tmp_path_factory: pytest.TempPathFactory) -> TokenSigner:
    return TokenSigner(pki.ensure(tmp_path_factory.mktemp("pki")).service_account_key)


def test_round_trip(signer: TokenSigner) -> None:
    token, expires = signer.sign(CLAIMS, NOW, 600)
    assert expires == NOW + 600 and signer.verify(token, NOW) == CLAIMS and CLAIMS.username == "system:serviceaccount:ns:sa"


def test_time_and_tampering(signer: TokenSigner) -> None:
    token, expires = signer.sign(CLAIMS, NOW, 600)
    for now in (expires + 11, NOW - 11):
        with pytest.raises(BadToken):
            signer.verify(token, now)
    head, payload, signature = token.split(".")
    forged = json.loads(base64.urlsafe_b64decode(payload + "=="))
    forged["sub"] = "system:serviceaccount:kube-system:admin"
    other = base64.urlsafe_b64encode(json.dumps(forged).encode()).rstrip(b"=").decode()
    none = base64.urlsafe_b64encode(b'{"alg":"none"}').rstrip(b"=").decode()
    for bad in (f"{head}.{other}.{signature}", f"{none}.{payload}.", "x", "a.b.c", f"{head}.{payload}.{signature[:-4]}", ""):
        with pytest.raises(BadToken):
            signer.verify(bad, NOW)


def test_other_clusters_token_is_not_ours(signer: TokenSigner, tmp_path: Path) -> None:
    stranger = TokenSigner(pki.ensure(tmp_path).service_account_key)
    with pytest.raises(BadToken, match="not signed by this cluster"):
        signer.verify(stranger.sign(CLAIMS, NOW, 600)[0], NOW)


def test_public_key_is_published(signer: TokenSigner) -> None:
    key = signer.jwks()["keys"][0]
    assert (key["kty"], key["crv"], key["kid"]) == ("EC", "P-256", signer.key_id) and len(base64.urlsafe_b64decode(key["x"] + "=")) == 32
    assert discovery("https://a/jwks")["jwks_uri"] == "https://a/jwks"
