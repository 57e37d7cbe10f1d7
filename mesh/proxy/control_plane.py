"""Control plane: where it is, by what it is verified, and how we say who we are. Files are read again at every use."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc

from mesh.model.addr import Address

REFUSALS = (grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.PERMISSION_DENIED)
"""What a caller hears whose token is not good, or not good for what it asks."""


class NotThereYet(Exception):
    """A file that the kubelet is to bring is missing or empty. The message names it and says who makes it."""


@dataclass(frozen=True, slots=True)
class ControlPlane:
    """roots, token: files (`TRIOMESH_CA_ROOTS`, `TRIOMESH_CA_TOKEN`); both None: plaintext, and nobody in particular calls."""

    address: Address
    roots: Path | None = None
    token: Path | None = None

    @property
    def is_secure(self) -> bool:
        return self.roots is not None

    def open_channel(self, options: Sequence[tuple[str, Any]]) -> grpc.Channel:
        """A channel that has not connected yet. Raises: NotThereYet."""
        if self.roots is None:
            return grpc.insecure_channel(str(self.address), options)
        return grpc.secure_channel(str(self.address), grpc.ssl_channel_credentials(self.read_roots()), options)

    def read_roots(self) -> bytes:
        """PEM. Raises: NotThereYet."""
        assert self.roots is not None
        return _read(self.roots, "the roots of the mesh's CA", "the control plane makes ConfigMap triomesh-ca-root-cert")

    def credentials(self) -> tuple[tuple[str, str], ...]:
        """Metadata of one call. Raises: NotThereYet."""
        if self.token is None:
            return ()
        token = _read(self.token, "the service account's token", "the kubelet projects it into volume triomesh-token")
        return (("authorization", f"Bearer {token.decode('ascii', 'replace').strip()}"),)


def reason_of(error: grpc.RpcError) -> str:
    """Code and the server's own words."""
    return f"{error.code().name}: {error.details()}" if isinstance(error, grpc.Call) else str(error)


def is_refusal(error: grpc.RpcError) -> bool:
    """The server knows us, and will not have us."""
    return isinstance(error, grpc.Call) and error.code() in REFUSALS


def _read(path: Path, what: str, who: str) -> bytes:
    try:
        data = path.read_bytes()
    except OSError as exc:
        raise NotThereYet(f"{path}, {what}: {exc.strerror} ({who})") from exc
    if not data.strip():
        raise NotThereYet(f"{path}, {what}, is empty ({who})")
    return data
