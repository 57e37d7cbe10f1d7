"""A CA on 127.0.0.1 over TLS, as a proxy sees the control plane's: it can refuse, err and be away."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

import grpc

from mesh.model.addr import Address
from mesh.proxy.control_plane import ControlPlane
from mesh.xds.certificate_service import METHOD, SERVICE, CertificateResponse, decode_request, encode_response
from tests.support.proxy_tls import Authority

NAME = "spiffe://cluster.local/ns/shop/sa/reviews"


def token(account: str = "reviews", mark: str = "1") -> str:
    body = base64.urlsafe_b64encode(json.dumps({"sub": f"system:serviceaccount:shop:{account}", "jti": mark}).encode())
    return f"e30.{body.decode().rstrip('=')}.x"


@dataclass
class Ca:
    """root: signs. refuse: answer with this instead. bearers: what callers showed. name: whom certificates are for."""

    root: Authority
    name: str = NAME
    lifetime: timedelta = timedelta(days=1)
    refuse: tuple[grpc.StatusCode, str] | None = None
    bearers: list[str] = field(default_factory=list)

    def create(self, data: bytes, context: grpc.ServicerContext) -> bytes:
        self.bearers.append(str(dict(context.invocation_metadata()).get("authorization", "")))
        if self.refuse is not None:
            context.abort(*self.refuse)
        leaf = self.root.sign(decode_request(data).csr_pem, self.name, lifetime=self.lifetime)
        return encode_response(CertificateResponse((leaf, self.root.pem.decode())))


@contextmanager
def serving_ca(ca: Ca, directory: Path, port: int = 0, server_root: Authority | None = None) -> Iterator[ControlPlane]:
    """Also writes roots and token into the directory."""
    server = grpc.server(ThreadPoolExecutor(4))
    handler = grpc.unary_unary_rpc_method_handler(ca.create)
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, {METHOD: handler}),))
    mine = (server_root or ca.root).issue("127.0.0.1")
    bound = server.add_secure_port(f"127.0.0.1:{port}", grpc.ssl_server_credentials([(mine.key_pem, mine.chain_pem)]))
    server.start()
    (directory / "roots.pem").write_bytes(ca.root.pem)
    (directory / "token").write_text(token() + "\n")
    try:
        yield ControlPlane(Address("127.0.0.1", bound), directory / "roots.pem", directory / "token")
    finally:
        server.stop(None).wait()
