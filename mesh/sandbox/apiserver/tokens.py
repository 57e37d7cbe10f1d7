"""Service-account tokens: JWTs signed with ES256, as TokenRequest gives them out and authentication reads them.

Source: RFC 7515 (JWS compact form), RFC 7518 3.4 (ES256: r and s as two 32-byte integers), RFC 7519; the private claim
`kubernetes.io` as kube-apiserver writes it. Pure but for the key file read once.
"""

from __future__ import annotations

import base64
import hashlib
import json
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, utils

ISSUER = "https://kubernetes.default.svc.cluster.local"
SKEW_SECONDS = 10
MIN_SECONDS = 600  # TokenRequest refuses shorter lives
MAX_SECONDS = 2**32
DEFAULT_SECONDS = 3600


class BadToken(Exception):
    """Not one of our tokens, or not valid now; the text says why."""


class NoToken(BadToken):
    """Not even a JSON web token."""


@dataclass(frozen=True, slots=True)
class Bound:
    """The object whose deletion ends a token's life."""

    kind: str
    name: str
    uid: str


@dataclass(frozen=True, slots=True)
class Claims:
    """What a valid token says."""

    namespace: str
    name: str
    uid: str
    audiences: tuple[str, ...]
    token_id: str
    bound: Bound | None = None
    node: Bound | None = None

    @property
    def username(self) -> str:
        """`system:serviceaccount:<namespace>:<name>`."""
        return f"system:serviceaccount:{self.namespace}:{self.name}"


class TokenSigner:
    """Signs and verifies with one EC P-256 key."""

    def __init__(self, key_file: Path) -> None:
        key = serialization.load_pem_private_key(key_file.read_bytes(), None)
        if not isinstance(key, ec.EllipticCurvePrivateKey):
            raise ValueError(f"{key_file} is not an EC key")
        self._key = key
        self._public = key.public_key()
        der = self._public.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
        self.key_id = _b64(hashlib.sha256(der).digest())

    def sign(self, claims: Claims, now: int, lifetime_seconds: int) -> tuple[str, int]:
        """(token, expiry as seconds since the epoch)."""
        private: dict[str, Any] = {"namespace": claims.namespace, "serviceaccount": {"name": claims.name, "uid": claims.uid}}
        if claims.bound:
            private[claims.bound.kind.lower()] = {"name": claims.bound.name, "uid": claims.bound.uid}
        if claims.node:
            private["node"] = {"name": claims.node.name, "uid": claims.node.uid}
        payload = {
            "aud": list(claims.audiences), "exp": now + lifetime_seconds, "iat": now, "iss": ISSUER, "jti": claims.token_id or str(uuid.uuid4()),
            "kubernetes.io": private, "nbf": now, "sub": claims.username,
        }  # fmt: skip
        head = {"alg": "ES256", "kid": self.key_id}
        signed = f"{_b64(_json(head))}.{_b64(_json(payload))}"
        r, s = utils.decode_dss_signature(self._key.sign(signed.encode(), ec.ECDSA(hashes.SHA256())))
        return f"{signed}.{_b64(r.to_bytes(32, 'big') + s.to_bytes(32, 'big'))}", now + lifetime_seconds

    def verify(self, token: str, now: int) -> Claims:
        """Raises: BadToken: form, signature, issuer or time. Whether its objects still exist is for the caller to ask."""
        try:
            head_text, payload_text, signature_text = token.split(".")
            head, payload, signature = json.loads(_unb64(head_text)), json.loads(_unb64(payload_text)), _unb64(signature_text)
        except ValueError as exc:
            raise NoToken("not a JSON web token") from exc
        if not isinstance(head, dict) or not isinstance(payload, dict) or head.get("alg") != "ES256" or head.get("kid") != self.key_id or len(signature) != 64:
            raise BadToken("not signed by this cluster")
        der = utils.encode_dss_signature(int.from_bytes(signature[:32], "big"), int.from_bytes(signature[32:], "big"))
        try:
            self._public.verify(der, f"{head_text}.{payload_text}".encode(), ec.ECDSA(hashes.SHA256()))
        except InvalidSignature as exc:
            raise BadToken("the signature does not verify") from exc
        if payload["iss"] != ISSUER:
            raise BadToken(f"issuer {payload['iss']!r} is not {ISSUER}")
        if now > payload["exp"] + SKEW_SECONDS:
            raise BadToken("token has expired")
        if now < payload["nbf"] - SKEW_SECONDS:
            raise BadToken("token is not valid yet")
        private = payload["kubernetes.io"]
        bound = next((Bound(kind, private[kind.lower()]["name"], private[kind.lower()]["uid"]) for kind in ("Pod", "Secret") if kind.lower() in private), None)
        node = Bound("Node", private["node"]["name"], private["node"]["uid"]) if "node" in private else None
        account = private["serviceaccount"]
        return Claims(private["namespace"], account["name"], account["uid"], tuple(payload["aud"]), payload["jti"], bound, node)

    def jwks(self) -> dict[str, Any]:
        """The public key as a JSON Web Key Set (RFC 7517, RFC 7518 6.2)."""
        numbers = self._public.public_numbers()
        point = {"x": _b64(numbers.x.to_bytes(32, "big")), "y": _b64(numbers.y.to_bytes(32, "big"))}
        return {"keys": [{"use": "sig", "kty": "EC", "kid": self.key_id, "alg": "ES256", "crv": "P-256", **point}]}


def discovery(jwks_uri: str) -> dict[str, Any]:
    """`/.well-known/openid-configuration`."""
    return {"issuer": ISSUER, "jwks_uri": jwks_uri, "response_types_supported": ["id_token"], "subject_types_supported": ["public"],
            "id_token_signing_alg_values_supported": ["ES256"]}  # fmt: skip


def _json(value: Any) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()


def _b64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _unb64(text: str) -> bytes:
    return base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
