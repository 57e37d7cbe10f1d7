"""Whatever a CSR asks for, the leaf names its caller alone and gives no more than a leaf's rights."""

from __future__ import annotations

import ipaddress

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from hypothesis import given
from hypothesis import strategies as st

from mesh.control.ca import MAX_LEAF_SECONDS, make_root
from mesh.model.spiffe import SpiffeId
from tests.support.identity_ca import NOW

AUTHORITY = make_root(NOW)
KEY = ec.generate_private_key(ec.SECP256R1())
WHO = SpiffeId("cluster.local", "shop", "cart")

_words = st.text("abcdefghijklmnopqrstuvwxyz0123456789-", min_size=1, max_size=20)
_names = st.one_of(
    st.builds(lambda a, b: x509.UniformResourceIdentifier(f"spiffe://cluster.local/ns/{a}/sa/{b}"), _words, _words),
    st.builds(lambda a: x509.DNSName(f"{a}.example.com"), _words),
    st.builds(lambda a: x509.RFC822Name(f"{a}@example.com"), _words),
    st.builds(lambda n: x509.IPAddress(ipaddress.IPv4Address(n)), st.integers(0, 2**32 - 1)),
)
_usage = st.builds(
    lambda flags: x509.KeyUsage(*flags, encipher_only=False, decipher_only=False), st.tuples(*[st.booleans()] * 7)
)
_extensions = st.one_of(
    st.builds(x509.SubjectAlternativeName, st.lists(_names, min_size=1, max_size=4)),
    st.just(x509.BasicConstraints(ca=True, path_length=5)),
    _usage,
    st.just(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CODE_SIGNING])),
    st.builds(
        lambda text: x509.UnrecognizedExtension(x509.ObjectIdentifier("1.2.3.4.5"), text), st.binary(max_size=20)
    ),
)


@given(
    st.lists(_extensions, max_size=4, unique_by=lambda each: each.oid.dotted_string),
    st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=16),
    st.integers(0, 2**62),
)
def test_the_leaf_names_its_caller_alone(extensions: list[x509.ExtensionType], subject: str, seconds: int) -> None:
    builder = x509.CertificateSigningRequestBuilder().subject_name(
        x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, subject)])
    )
    for extension in extensions:
        builder = builder.add_extension(extension, critical=True)
    request = builder.sign(KEY, hashes.SHA256()).public_bytes(Encoding.PEM).decode()

    (leaf,) = AUTHORITY.sign(request, WHO, seconds, NOW).chain

    plain = AUTHORITY.issue(KEY.public_key(), WHO, (), seconds, NOW).chain[0]
    assert leaf.subject == x509.Name([])
    assert list(leaf.extensions) == list(plain.extensions)
    names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert [name.value for name in names] == [str(WHO)]
    assert leaf.not_valid_after_utc == plain.not_valid_after_utc
    assert leaf.not_valid_after_utc.timestamp() <= NOW + MAX_LEAF_SECONDS
