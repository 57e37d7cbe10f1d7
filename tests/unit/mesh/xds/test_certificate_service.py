"""The certificate service's messages are Istio's, byte for byte."""

from __future__ import annotations

import math
import struct

import pytest
from google.protobuf import struct_pb2

from mesh.xds.certificate_service import (
    PATH,
    CertificateRequest,
    CertificateResponse,
    decode_request,
    decode_response,
    encode_request,
    encode_response,
)
from mesh.xds.error import ProtocolError

_LEAF = "-----BEGIN CERTIFICATE-----\nleaf\n-----END CERTIFICATE-----\n"
_ROOT = "-----BEGIN CERTIFICATE-----\nroot\n-----END CERTIFICATE-----"


def test_the_path_is_istios() -> None:
    assert PATH == "/istio.v1.auth.IstioCertificateService/CreateCertificate"


def test_a_request_is_istios_fields_1_3_and_4() -> None:
    metadata = struct_pb2.Struct()
    metadata.update({"ClusterID": "Kubernetes"})
    body = metadata.SerializeToString()
    expected = b"\x0a\x03csr" + b"\x18\x80\xa3\x05" + b"\x22" + bytes([len(body)]) + body

    request = CertificateRequest("csr", 86_400, {"ClusterID": "Kubernetes"})

    assert encode_request(request) == expected
    assert decode_request(expected) == request


def test_an_unknown_field_does_not_disturb() -> None:
    assert decode_request(b"\x0a\x03csr\x12\x02me\x2a\x01x") == CertificateRequest("csr")


def test_a_response_is_field_1_repeated() -> None:
    response = CertificateResponse((_LEAF, _ROOT))
    encoded = b"".join(b"\x0a" + bytes([len(part)]) + part.encode() for part in (_LEAF, _ROOT))

    assert encode_response(response) == encoded
    assert decode_response(encoded) == response


def test_the_roots_are_the_last_element_and_every_block_ends_its_line() -> None:
    response = CertificateResponse((_LEAF.rstrip(), _LEAF, _ROOT))

    assert response.chain_pem == _LEAF + _LEAF
    assert response.roots_pem == _ROOT + "\n"


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"\xff", "not an IstioCertificateRequest"),
        (b"\x0a\x02\xff\xfe", "not an IstioCertificateRequest"),
        (b"", "csr: is empty"),
        (b"\x0a\x01 ", "csr: is empty"),
        (
            b"\x0a\x03csr\x22\x11\x0a\x0f\x0a\x02hi\x12\x09\x11" + struct.pack("<d", math.inf),
            "metadata: is no JSON object",
        ),
        (b"\x0a\x03csr\x18" + b"\xff" * 9 + b"\x01", "validity_duration: -1 is negative"),
    ],
)
def test_a_bad_request_is_told_by_its_field(data: bytes, said: str) -> None:
    with pytest.raises(ProtocolError, match=said):
        decode_request(data)


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"\xff", "not an IstioCertificateResponse"),
        (b"", "0 elements"),
        (encode_response(CertificateResponse((_LEAF,))), "1 elements"),
        (encode_response(CertificateResponse((_LEAF, "", _ROOT))), r"cert_chain\[1\]: is no PEM"),
    ],
)
def test_a_bad_response_is_told_by_its_field(data: bytes, said: str) -> None:
    with pytest.raises(ProtocolError, match=said):
        decode_response(data)
