"""Authentication: who sends this request. Client certificate first, then bearer token, else anonymous."""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass, field
from typing import Any

from mesh.sandbox.apiserver import status
from mesh.sandbox.apiserver.http import Request
from mesh.sandbox.apiserver.storage import Key, Store
from mesh.sandbox.apiserver.tokens import ISSUER, BadToken, Claims, TokenSigner

# A browser cannot set Authorization on a WebSocket: the token comes as a subprotocol.
PROTOCOL_TOKEN = "base64url.bearer.authorization.k8s.io."
AUDIENCES = (ISSUER, "https://kubernetes.default.svc")


@dataclass(frozen=True, slots=True)
class User:
    """Name, uid, groups and extra attributes, as in TokenReview's `UserInfo`."""

    name: str
    groups: tuple[str, ...] = ()
    uid: str = ""
    extra: dict[str, list[str]] = field(default_factory=dict)

    def info(self) -> dict[str, Any]:
        """The `UserInfo` object."""
        out: dict[str, Any] = {"username": self.name, "groups": list(self.groups)}
        if self.uid:
            out["uid"] = self.uid
        if self.extra:
            out["extra"] = self.extra
        return out


ANONYMOUS = User("system:anonymous", ("system:unauthenticated",))


class Authenticator:
    """Knows the token key and looks up whether a token's objects still exist."""

    def __init__(self, signer: TokenSigner, store: Store) -> None:
        self._signer = signer
        self._store = store

    def authenticate(self, request: Request, now: int) -> User:
        """Raises: ApiError 401: a token was given and is not valid."""
        if request.certificate:
            user = certificate_user(request.certificate)
            if user.name:
                return user
        token = bearer_token(request)
        if token is None:
            return ANONYMOUS
        try:
            return self.token_user(token, AUDIENCES, now)[0]
        except BadToken as exc:
            raise status.unauthorized() from exc

    def token_user(self, token: str, audiences: tuple[str, ...], now: int) -> tuple[User, tuple[str, ...]]:
        """The user of a token and those of `audiences` that it is meant for. Raises: BadToken."""
        claims = self._signer.verify(token, now)
        fitting = tuple(a for a in audiences if a in claims.audiences)
        if not fitting:
            raise BadToken(f"token audiences {list(claims.audiences)} are none of {list(audiences)}")
        self._check_alive(claims)
        return service_account_user(claims), fitting

    def _check_alive(self, claims: Claims) -> None:
        account = self._store.get(Key("serviceaccounts", claims.namespace, claims.name))
        if account is None or account.obj["metadata"]["uid"] != claims.uid:
            raise BadToken(f"service account {claims.namespace}/{claims.name} of the token no longer exists")
        if claims.bound:
            resource = {"Pod": "pods", "Secret": "secrets"}[claims.bound.kind]
            found = self._store.get(Key(resource, claims.namespace, claims.bound.name))
            if found is None or found.obj["metadata"]["uid"] != claims.bound.uid:
                raise BadToken(f"{claims.bound.kind} {claims.bound.name} that the token is bound to no longer exists")


def certificate_user(certificate: dict[str, Any]) -> User:
    """Common name → user, organizations → groups. Source: "Authenticating", X.509 client certificates."""
    parts = [pair for name in certificate.get("subject", ()) for pair in name]
    name = next((value for key, value in parts if key == "commonName"), "")
    groups = tuple(value for key, value in parts if key == "organizationName")
    return User(name, (*groups, "system:authenticated"))


def service_account_user(claims: Claims) -> User:
    """User, groups and extra of a service account's token."""
    groups = ("system:serviceaccounts", f"system:serviceaccounts:{claims.namespace}", "system:authenticated")
    prefix = "authentication.kubernetes.io/"
    extra = {f"{prefix}credential-id": [f"JTI={claims.token_id}"]}
    if claims.bound and claims.bound.kind == "Pod":
        extra |= {f"{prefix}pod-name": [claims.bound.name], f"{prefix}pod-uid": [claims.bound.uid]}
    if claims.node:
        extra |= {f"{prefix}node-name": [claims.node.name], f"{prefix}node-uid": [claims.node.uid]}
    return User(claims.username, groups, claims.uid, extra)


def bearer_token(request: Request) -> str | None:
    """The token of the Authorization header or of a WebSocket subprotocol."""
    scheme, _, value = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer" and value.strip():
        return value.strip()
    for protocol in request.headers.get("sec-websocket-protocol", "").split(","):
        encoded = protocol.strip()
        if encoded.startswith(PROTOCOL_TOKEN):
            encoded = encoded.removeprefix(PROTOCOL_TOKEN)
            try:
                return base64.b64decode(encoded + "=" * (-len(encoded) % 4), altchars=b"-_", validate=True).decode("ascii")
            except (binascii.Error, UnicodeDecodeError) as exc:
                raise status.unauthorized() from exc
    return None
