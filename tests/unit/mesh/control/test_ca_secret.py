"""A CA's Secret, read and written; what is wrong is said with the Secret's and the key's name."""

from __future__ import annotations

import re
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ed25519
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, Encoding, NoEncryption, PrivateFormat

from mesh.control.ca import make_root
from mesh.control.ca_secret import CaError, data, load
from tests.support.identity_ca import NOW, Maker, secret

ROOT = Maker("root")
UPPER = Maker("upper", ROOT, path_length=1)
LOWER = Maker("lower", UPPER, path_length=0)
OTHER = Maker("other")
ENDED = Maker("ended", ends=NOW)
_SEALED = LOWER.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"x")).decode()
_ED25519 = (
    ed25519.Ed25519PrivateKey.generate().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
)


def test_what_is_written_is_read_back() -> None:
    made = make_root(NOW)
    found = load({"metadata": {"namespace": "n", "name": "s"}, "data": data(made)}, NOW)
    assert (found.certificate, found.chain, found.anchor, found.roots) == (
        made.certificate,
        (),
        made.anchor,
        made.roots,
    )
    assert found.key.public_key() == made.key.public_key()


@pytest.mark.parametrize(
    "chain",
    [UPPER.pem, LOWER.pem + UPPER.pem, LOWER.pem + UPPER.pem + ROOT.pem, UPPER.pem + OTHER.pem + LOWER.pem],
    ids=["issuers", "from the CA on", "with the root", "disordered"],
)
def test_the_chain_leads_from_the_ca_to_its_root(chain: str) -> None:
    found = load(secret(LOWER, chain, OTHER.pem + ROOT.pem), NOW)
    assert found.chain == (LOWER.certificate, UPPER.certificate)
    assert found.anchor == ROOT.certificate
    assert found.roots == (OTHER.certificate, ROOT.certificate)


def test_an_intermediate_may_be_the_trust_anchor() -> None:
    found = load(secret(LOWER, "", UPPER.pem), NOW)
    assert (found.chain, found.anchor) == ((LOWER.certificate,), UPPER.certificate)


def test_roots_that_have_ended_are_left_out() -> None:
    assert load(secret(OTHER, roots=ENDED.pem + OTHER.pem), NOW).roots == (OTHER.certificate,)


@pytest.mark.parametrize(
    ("item", "said"),
    [
        (secret(OTHER, ca_cert=None), "data[ca-cert.pem]: is missing"),
        (secret(OTHER, ca_key=None), "data[ca-key.pem]: is missing"),
        (secret(OTHER, roots=""), "data[root-cert.pem]: is missing"),
        (secret(OTHER, ca_cert="none"), "data[ca-cert.pem]: holds no certificates in PEM"),
        (secret(OTHER, ca_key="none"), "data[ca-key.pem]: is no private key in PEM"),
        (
            secret(LOWER, UPPER.pem, ROOT.pem, ca_key=_SEALED),
            "data[ca-key.pem]: is no private key in PEM without a passphrase",
        ),
        (secret(OTHER, ca_key=_ED25519), "data[ca-key.pem]: must be an RSA key"),
        (secret(OTHER, ca_key=ROOT.key_pem), "data[ca-key.pem]: is not the key of ca-cert.pem"),
        (secret(ENDED), "data[ca-cert.pem]: 'CN=ended' ended at "),
        (secret(Maker("early", begins=NOW + 1)), "data[ca-cert.pem]: 'CN=early' begins at "),
        (secret(Maker("leaf", is_ca=False)), "data[ca-cert.pem]: 'CN=leaf' is not a CA"),
        (secret(LOWER, "", ROOT.pem), "data[cert-chain.pem]: leads from ca-cert.pem to 'CN=lower'"),
        (secret(Maker("under", ENDED), "", ENDED.pem), "data[root-cert.pem]: 'CN=ended' ended at "),
        (
            secret(Maker("deep", LOWER), LOWER.pem + UPPER.pem, ROOT.pem),
            "has 1 CAs below 'CN=lower', whose path length is 0",
        ),
    ],
)
def test_what_is_wrong_is_said_where_it_was_written(item: dict[str, Any], said: str) -> None:
    with pytest.raises(CaError, match=re.escape(said)) as caught:
        load(item, NOW)
    assert str(caught.value).startswith("Secret triomesh-system/cacerts data[")


def test_data_that_is_not_base64_is_told() -> None:
    item = secret(OTHER)
    item["data"]["ca-key.pem"] = "§"
    with pytest.raises(CaError, match=r"data\[ca-key.pem\]: is not base64"):
        load(item, NOW)
