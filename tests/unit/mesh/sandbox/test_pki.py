from __future__ import annotations

import ssl
import stat
from pathlib import Path

from cryptography import x509
from cryptography.x509.oid import NameOID

from mesh.sandbox import pki


def test_certificates_are_signed_by_the_ca_and_have_their_names(tmp_path: Path) -> None:
    made = pki.ensure(tmp_path)
    ca = x509.load_pem_x509_certificate(made.ca.read_bytes())
    for leaf in pki.LEAVES:
        cert = x509.load_pem_x509_certificate(made.cert(leaf.file).read_bytes())
        cert.verify_directly_issued_by(ca)
        assert [a.value for a in cert.subject.get_attributes_for_oid(NameOID.ORGANIZATION_NAME)] == list(leaf.organizations)
    server = x509.load_pem_x509_certificate(made.cert("apiserver").read_bytes())
    names = server.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert "kubernetes.default.svc" in names.get_values_for_type(x509.DNSName) and "198.19.0.1" in map(str, names.get_values_for_type(x509.IPAddress))


def test_keys_are_private_and_usable(tmp_path: Path) -> None:
    made = pki.ensure(tmp_path / "deep" / "pki")
    for name in ("ca", "sa", "admin", "kubelet", "apiserver"):
        assert stat.S_IMODE(made.key(name).stat().st_mode) == 0o600
    context = ssl.create_default_context(cafile=str(made.ca))
    context.load_cert_chain(made.cert("kubelet"), made.key("kubelet"))


def test_second_start_keeps_everything_and_repairs_what_is_missing(tmp_path: Path) -> None:
    made = pki.ensure(tmp_path)
    before = {f.name: f.read_bytes() for f in tmp_path.iterdir()}
    made.cert("admin").unlink()
    pki.ensure(tmp_path)
    after = {f.name: f.read_bytes() for f in tmp_path.iterdir()}
    assert {n for n in before if before[n] != after[n]} == {"admin.crt", "admin.key"}


def test_new_ca_signs_the_leaves_again(tmp_path: Path) -> None:
    made = pki.ensure(tmp_path)
    made.ca.unlink()
    pki.ensure(tmp_path)
    ca = x509.load_pem_x509_certificate(made.ca.read_bytes())
    x509.load_pem_x509_certificate(made.cert("admin").read_bytes()).verify_directly_issued_by(ca)
