"""Identity file: key and chain on disk, so that a proxy that restarts can serve while the control plane is away."""

from __future__ import annotations

import re
from pathlib import Path

from mesh.model.secret import TlsCertificate
from mesh.proxy.identity import Identity, IdentityError, Workload, verify

_KEY = re.compile(rb"-----BEGIN PRIVATE KEY-----.+?-----END PRIVATE KEY-----\n?", re.DOTALL)


def load(path: Path, roots_pem: bytes, workload: Workload) -> Identity | None:
    """What was saved, judged anew; None: there is no such file. Raises: IdentityError: damaged, expired or foreign; OSError."""
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return None
    key = _KEY.search(data)
    if key is None:
        raise IdentityError("it holds no private key (PEM)")
    return verify(TlsCertificate(data[: key.start()] + data[key.end() :], key[0]), roots_pem, workload)


def save(path: Path, identity: Identity) -> None:
    """Atomically, for this user alone. Raises: OSError."""
    new = path.with_suffix(".new")
    new.unlink(missing_ok=True)
    new.touch(mode=0o600)
    new.write_bytes(identity.certificate.key_pem + identity.certificate.chain_pem)
    new.replace(path)
