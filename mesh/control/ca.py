"""Authority: the key that signs workloads' certificates, and what it signs. Pure: bytes and a time in, certificates out.

What a certificate says comes from the caller's authenticated identity alone; of a CSR only the public key is used, after
its own signature has shown that the caller has the private one. Source: SPIFFE X.509-SVID 2 to 4, RFC 5280 4.2, RFC 2986.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from mesh.model.spiffe import SpiffeId

DEFAULT_LEAF_SECONDS = 24 * 3600
MAX_LEAF_SECONDS = 7 * 24 * 3600
ROOT_SECONDS = 10 * 365 * 24 * 3600
BACKDATE_SECONDS = 120
"""How far a clock may be behind ours and still take a new certificate for valid (Istio's grace, too)."""
MAX_CSR_CHARACTERS = 64 << 10
"""An RSA-8192 CSR with every extension that anybody sends is below 8 KiB."""
_RSA_BITS = range(2048, 8193)

PrivateKey = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey
PublicKey = ec.EllipticCurvePublicKey | rsa.RSAPublicKey


class BadRequest(ValueError):
    """The CSR cannot be signed, whoever sent it. Its text is for the caller."""


class Expiring(ValueError):
    """The CA itself is at its end: nothing useful can be signed with it."""


@dataclass(frozen=True, slots=True)
class Issued:
    """chain: the leaf, then the intermediates in order. not_after: Unix seconds."""

    chain: tuple[x509.Certificate, ...]
    not_after: float


@dataclass(frozen=True, slots=True)
class Authority:
    """A CA certificate with its key.

    chain: what a leaf is shown with: the CA and what is between it and its root; empty when the CA is the root itself.
    anchor: the root that the chain leads to. roots: everything that its Secret says is to be trusted, anchor included.
    """

    certificate: x509.Certificate
    key: PrivateKey = field(repr=False)
    chain: tuple[x509.Certificate, ...]
    anchor: x509.Certificate
    roots: tuple[x509.Certificate, ...]

    @property
    def not_after(self) -> float:
        """Unix seconds at which the first of the path ends."""
        return min(unix(each.not_valid_after_utc) for each in (self.certificate, *self.chain, self.anchor))

    def sign(self, csr_pem: str, identity: SpiffeId, validity_seconds: int, now: float) -> Issued:
        """A certificate for who the caller is, with the CSR's key.

        Args: validity_seconds: 0 = the default; more than the maximum, or than the CA lives, is shortened.
        Raises: BadRequest; Expiring.
        """
        return self.issue(_proven_key(csr_pem), identity, (), validity_seconds, now)

    def issue(
        self, public_key: PublicKey, identity: SpiffeId, dns_names: Sequence[str], validity_seconds: int, now: float
    ) -> Issued:
        """A certificate for a key whose owner is known. Raises: Expiring."""
        wanted = now + min(validity_seconds or DEFAULT_LEAF_SECONDS, MAX_LEAF_SECONDS)
        not_after = min(wanted, self.not_after)
        if not_after <= now:
            raise Expiring(
                f"the CA's certificate ended at {datetime.fromtimestamp(self.not_after, UTC):%Y-%m-%dT%H:%M:%SZ}"
            )
        names = [x509.UniformResourceIdentifier(str(identity)), *map(x509.DNSName, dns_names)]
        builder = (
            x509.CertificateBuilder()
            .subject_name(x509.Name([]))
            .issuer_name(self.certificate.subject)
            .public_key(public_key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(_at(now - BACKDATE_SECONDS))
            .not_valid_after(_at(not_after))
            # RFC 5280 4.2.1.6: without a subject the alternative names are critical.
            .add_extension(x509.SubjectAlternativeName(names), critical=True)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_leaf_usage(isinstance(public_key, rsa.RSAPublicKey)), critical=True)
            .add_extension(
                x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]),
                critical=False,
            )
            .add_extension(_authority_key(self.certificate), critical=False)
        )
        leaf = builder.sign(self.key, _digest(self.key))
        return Issued((leaf, *self.chain), unix(leaf.not_valid_after_utc))


def make_root(now: float) -> Authority:
    """A root of our own: P-256, ten years."""
    return _self_signed(ec.generate_private_key(ec.SECP256R1()), now, ())


def renew_root(old: Authority, now: float) -> Authority:
    """The same key and name with a new end; the old certificate stays in the bundle until its own end.

    With the same key, what either of the two has signed verifies by either: nobody has to learn anything in time.
    """
    return _self_signed(old.key, now, tuple(each for each in old.roots if unix(each.not_valid_after_utc) > now))


def pem(certificates: Sequence[x509.Certificate]) -> str:
    return "".join(each.public_bytes(Encoding.PEM).decode() for each in certificates)


def fingerprint(certificate: x509.Certificate) -> str:
    """SHA-256, hex."""
    return certificate.fingerprint(hashes.SHA256()).hex()


def unix(moment: datetime) -> float:
    return moment.timestamp()


def _self_signed(key: PrivateKey, now: float, others: tuple[x509.Certificate, ...]) -> Authority:
    name = x509.Name(
        [
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, "Triomesh"),
            x509.NameAttribute(NameOID.COMMON_NAME, "Triomesh mesh CA"),
        ]
    )
    identifier = x509.SubjectKeyIdentifier.from_public_key(key.public_key())
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(_at(now - BACKDATE_SECONDS))
        .not_valid_after(_at(now + ROOT_SECONDS))
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .add_extension(_ca_usage(), critical=True)
        .add_extension(identifier, critical=False)
        .sign(key, _digest(key))
    )
    return Authority(certificate, key, (), certificate, (certificate, *others))


def _proven_key(csr_pem: str) -> PublicKey:
    if len(csr_pem) > MAX_CSR_CHARACTERS:
        raise BadRequest(f"csr: has {len(csr_pem)} characters, more than {MAX_CSR_CHARACTERS}")
    try:
        csr = x509.load_pem_x509_csr(csr_pem.encode())
        key = csr.public_key()
        # The size comes before the signature, which costs what the key costs.
        if isinstance(key, ec.EllipticCurvePublicKey):
            if not isinstance(key.curve, ec.SECP256R1):
                raise BadRequest(f"csr: its key is on the curve {key.curve.name}; use P-256, or RSA")
        elif isinstance(key, rsa.RSAPublicKey):
            if key.key_size not in _RSA_BITS:
                raise BadRequest(f"csr: its RSA key has {key.key_size} bits; use 2048 to 8192, or P-256")
        else:
            raise BadRequest("csr: its key is neither P-256 nor RSA")
        is_proven = csr.is_signature_valid
    except BadRequest:
        raise
    except (ValueError, TypeError, UnsupportedAlgorithm) as exc:
        raise BadRequest(f"csr: is no PKCS #10 request in PEM that can be read: {exc}") from exc
    if not is_proven:
        raise BadRequest("csr: is not signed by the key that it is for")
    return key


def _leaf_usage(is_rsa: bool) -> x509.KeyUsage:
    # SPIFFE X.509-SVID 4.3: digitalSignature; keyEncipherment is of use to TLS 1.2's RSA key exchange alone.
    return _usage(digital_signature=True, key_encipherment=is_rsa)


def _ca_usage() -> x509.KeyUsage:
    return _usage(key_cert_sign=True, crl_sign=True)


def _usage(
    digital_signature: bool = False, key_encipherment: bool = False, key_cert_sign: bool = False, crl_sign: bool = False
) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=digital_signature,
        content_commitment=False,
        key_encipherment=key_encipherment,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=key_cert_sign,
        crl_sign=crl_sign,
        encipher_only=False,
        decipher_only=False,
    )


def _authority_key(issuer: x509.Certificate) -> x509.AuthorityKeyIdentifier:
    try:
        identifier = issuer.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
    except x509.ExtensionNotFound:
        # An operator's CA may lack it; RFC 5280 4.2.1.1 then takes the hash of the key.
        public = issuer.public_key()
        assert isinstance(public, ec.EllipticCurvePublicKey | rsa.RSAPublicKey)  # checked on load
        return x509.AuthorityKeyIdentifier.from_issuer_public_key(public)
    return x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(identifier)


def _digest(key: PrivateKey) -> hashes.SHA256 | hashes.SHA384 | hashes.SHA512:
    # A signature is as strong as the weaker of curve and hash.
    if isinstance(key, ec.EllipticCurvePrivateKey) and key.key_size > 256:
        return hashes.SHA384() if key.key_size <= 384 else hashes.SHA512()
    return hashes.SHA256()


def _at(seconds: float) -> datetime:
    return datetime.fromtimestamp(0, UTC) + timedelta(seconds=int(seconds))
