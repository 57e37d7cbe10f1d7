"""Caller: who is at the other end of an authenticated call, by the API server's TokenReview. Sans-I/O.

Source: Kubernetes TokenReview (authentication.k8s.io/v1); the node metadata's keys are Istio's.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import grpc

from mesh.model.node import Node, Role
from mesh.model.spiffe import SpiffeId

AUDIENCES = ("triomesh-ca", "istio-ca")
"""Whom a token must be for: a pod's ordinary token, which every API server takes, is none of ours."""
_PREFIX = "system:serviceaccount:"
_GROUP = "system:serviceaccounts"
_POD_NAME = "authentication.kubernetes.io/pod-name"


class Unauthenticated(Exception):
    """Nobody known: no token, or not a valid one for us."""


class Denied(Exception):
    """Somebody known who may not do this."""


class Exhausted(Exception):
    """More than we can check at once."""


class Unavailable(Exception):
    """It cannot be found out now; try again."""


REFUSALS: dict[type[Exception], grpc.StatusCode] = {
    Unauthenticated: grpc.StatusCode.UNAUTHENTICATED,
    Denied: grpc.StatusCode.PERMISSION_DENIED,
    Exhausted: grpc.StatusCode.RESOURCE_EXHAUSTED,
    Unavailable: grpc.StatusCode.UNAVAILABLE,
}
"""What a call is ended with."""


@dataclass(frozen=True, slots=True)
class Caller:
    """A service account; pod: the pod that its token is bound to, "" when the API server does not say."""

    namespace: str
    service_account: str
    pod: str = ""

    def identity(self, trust_domain: str) -> SpiffeId:
        return SpiffeId(trust_domain, self.namespace, self.service_account)

    def __str__(self) -> str:
        return f"{self.namespace}/{self.service_account}"


def bearer_token(metadata: Iterable[tuple[str, str | bytes]]) -> str:
    """The token of a call's metadata. Raises: Unauthenticated."""
    found = [str(value) for key, value in metadata if key == "authorization"]
    if not found:
        raise Unauthenticated("the call carries no authorization; send a service-account token as bearer token")
    if len(found) > 1:
        raise Unauthenticated("the call carries more than one authorization")
    scheme, _, token = found[0].partition(" ")
    token = token.strip()
    # RFC 6750 2.1: b64token. Anything else would only be carried to the API server to be refused there.
    if scheme.lower() != "bearer" or not token or not token.isascii() or any(c.isspace() for c in token):
        raise Unauthenticated("authorization is not of the form 'Bearer <token>'")
    return token


def review(token: str) -> dict[str, Any]:
    """The TokenReview to create."""
    return {
        "apiVersion": "authentication.k8s.io/v1",
        "kind": "TokenReview",
        "spec": {"token": token, "audiences": list(AUDIENCES)},
    }


def caller(answer: Mapping[str, Any]) -> Caller:
    """Whom an answered TokenReview shows. Raises: Unauthenticated; Denied: somebody who is no service account."""
    status = answer.get("status") or {}
    if status.get("authenticated") is not True:
        raise Unauthenticated(
            f"the token is not valid here: {status.get('error') or 'the API server does not know it'}"
        )
    if not set(status.get("audiences") or ()) & set(AUDIENCES):
        # An authenticator that knows no audiences answers none: the token is then for the API server, not for us.
        raise Unauthenticated(f"the token is not for {' or '.join(AUDIENCES)}")
    user = status.get("user") or {}
    name = str(user.get("username") or "")
    parts = name.removeprefix(_PREFIX).split(":")
    if not name.startswith(_PREFIX) or len(parts) != 2 or not all(parts) or _GROUP not in (user.get("groups") or ()):
        raise Denied(f"{name!r} is not a service account")
    pods = list((user.get("extra") or {}).get(_POD_NAME) or ())
    return Caller(parts[0], parts[1], str(pods[0]) if len(pods) == 1 else "")


def admitted(node: Node, by: Caller) -> Node:
    """The node, now with an identity. Raises: Denied: it says that it is somebody else than its token shows."""
    said = {
        "namespace": ({node.namespace, str(node.metadata.get("NAMESPACE") or node.namespace)}, by.namespace),
        "metadata SERVICE_ACCOUNT": ({str(node.metadata.get("SERVICE_ACCOUNT") or "")}, by.service_account),
    }
    if by.pod and node.role is not Role.GRPC:
        said["pod"] = ({node.name}, by.pod)
    for what, (claims, truth) in said.items():
        if wrong := claims - {truth}:
            raise Denied(
                f"node {node.id!r}: its {what} is {', '.join(sorted(map(repr, wrong)))}, its token's is {truth!r}"
            )
    return replace(node, has_identity=True)
