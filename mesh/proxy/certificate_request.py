"""Certificate request: a new P-256 key and the PKCS #10 request for it (RFC 2986).

`python -m mesh.proxy.certificate_request` prints both. The proxy runs that instead of calling `make_request`: the library is 15 MiB
of memory that a sidecar needs for a few milliseconds a day.
"""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass, field

import trio


@dataclass(frozen=True, slots=True)
class CertificateRequest:
    """PEM. The key never appears in repr."""

    key_pem: bytes = field(repr=False)
    csr_pem: str


class RequestFailed(Exception):
    """No key could be made. The message says why."""


def make_request() -> CertificateRequest:
    """The CA names the subject, by the token of who asks: the request names nobody."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    csr = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([])).sign(key, hashes.SHA256())
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return CertificateRequest(private, csr.public_bytes(serialization.Encoding.PEM).decode())


async def request_from_child() -> CertificateRequest:
    """`make_request`, in a process that is gone afterwards. Raises: RequestFailed."""
    command = [sys.executable, "-m", __name__]
    try:
        done = await trio.run_process(command, capture_stdout=True, capture_stderr=True)
        made = json.loads(done.stdout)
        return CertificateRequest(made["key"].encode(), made["csr"])
    except subprocess.CalledProcessError as exc:
        raise RequestFailed(f"{' '.join(command)}: {exc.stderr.decode(errors='replace').strip()[-500:]}") from exc
    except (OSError, ValueError, KeyError) as exc:
        raise RequestFailed(f"{' '.join(command)}: {exc}") from exc


def main() -> None:
    """Print a request as JSON: `key` and `csr`."""
    made = make_request()
    json.dump({"key": made.key_pem.decode(), "csr": made.csr_pem}, sys.stdout)


if __name__ == "__main__":
    main()
