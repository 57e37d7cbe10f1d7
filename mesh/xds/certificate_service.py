"""Istio's certificate service on the wire (`istio.v1.auth.IstioCertificateService`): a CSR in, a chain out.

Source: istio/api security/v1alpha1/ca.proto. Why Istio's own wire: docs/adr/0012. The descriptors are made here, in a
pool of their own, so that nothing is generated and nothing clashes with a process that has Istio's own Python package.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory, struct_pb2
from google.protobuf.json_format import MessageToDict
from google.protobuf.message import DecodeError as ProtobufError

from mesh.xds.error import ProtocolError

SERVICE: Final = "istio.v1.auth.IstioCertificateService"
METHOD: Final = "CreateCertificate"
PATH: Final = f"/{SERVICE}/{METHOD}"
"""What a gRPC channel calls: unary, bytes of a request to bytes of a response."""

_PACKAGE = "istio.v1.auth"
_Field = descriptor_pb2.FieldDescriptorProto


@dataclass(frozen=True, slots=True)
class CertificateRequest:
    """What the caller (known by its bearer token alone) asks for.

    csr_pem: PKCS #10, one PEM block. validity_seconds: wanted life of the certificate, 0 = as the CA likes.
    metadata: JSON object, for the CA's log alone.
    """

    csr_pem: str
    validity_seconds: int = 0
    metadata: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class CertificateResponse:
    """PEM, leaf first, roots last. An element holds one certificate or (Istio's CA) several, never none."""

    cert_chain: tuple[str, ...]

    @property
    def chain_pem(self) -> str:
        """What to show to peers: leaf and intermediates."""
        return "".join(_ended(part) for part in self.cert_chain[:-1])

    @property
    def roots_pem(self) -> str:
        """What to verify peers by."""
        return _ended(self.cert_chain[-1])


def encode_request(request: CertificateRequest) -> bytes:
    """The bytes of an `IstioCertificateRequest`. Raises: ValueError: metadata is no JSON, or validity no int64."""
    message = _REQUEST(csr=request.csr_pem, validity_duration=request.validity_seconds)
    if request.metadata:
        # `Struct.update` belongs to the generated class; this pool's Struct is a plain message.
        struct = struct_pb2.Struct()
        struct.update(dict(request.metadata))
        message.metadata.ParseFromString(struct.SerializeToString())
    return bytes(message.SerializeToString())


def decode_request(data: bytes) -> CertificateRequest:
    """Raises: ProtocolError: undecodable, no CSR, or a negative validity."""
    message = _parse(_REQUEST, "IstioCertificateRequest", data)
    if not message.csr.strip():
        raise ProtocolError("IstioCertificateRequest.csr: is empty")
    if message.validity_duration < 0:
        raise ProtocolError(f"IstioCertificateRequest.validity_duration: {message.validity_duration} is negative")
    return CertificateRequest(message.csr, message.validity_duration, _metadata(message))


def encode_response(response: CertificateResponse) -> bytes:
    """The bytes of an `IstioCertificateResponse`."""
    return bytes(_RESPONSE(cert_chain=response.cert_chain).SerializeToString())


def decode_response(data: bytes) -> CertificateResponse:
    """Raises: ProtocolError: undecodable, an empty element, or less than a leaf and a root."""
    chain = tuple(_parse(_RESPONSE, "IstioCertificateResponse", data).cert_chain)
    for index, part in enumerate(chain):
        if "-----BEGIN CERTIFICATE-----" not in part:
            raise ProtocolError(f"IstioCertificateResponse.cert_chain[{index}]: is no PEM certificate")
    if len(chain) < 2:
        raise ProtocolError(f"IstioCertificateResponse.cert_chain: {len(chain)} elements, must be a leaf and a root")
    return CertificateResponse(chain)


def _parse(message_class: Any, name: str, data: bytes) -> Any:
    try:
        return message_class.FromString(data)
    except ProtobufError as exc:
        raise ProtocolError(f"not an {name}: {exc}") from exc


def _metadata(message: Any) -> dict[str, Any]:
    # A number that is infinite is legal bytes and no JSON.
    try:
        return MessageToDict(struct_pb2.Struct.FromString(message.metadata.SerializeToString()))
    except (ProtobufError, ValueError) as exc:
        raise ProtocolError(f"IstioCertificateRequest.metadata: is no JSON object: {exc}") from exc


def _ended(pem: str) -> str:
    return pem if pem.endswith("\n") else pem + "\n"


def _classes() -> tuple[Any, Any]:
    file = descriptor_pb2.FileDescriptorProto(
        name="security/v1alpha1/ca.proto",
        package=_PACKAGE,
        syntax="proto3",
        dependency=[struct_pb2.DESCRIPTOR.name],
    )
    request = file.message_type.add(name="IstioCertificateRequest")
    request.field.add(name="csr", number=1, type=_Field.TYPE_STRING, label=_Field.LABEL_OPTIONAL)
    # 2 was `subject_id` of an early draft.
    request.field.add(name="validity_duration", number=3, type=_Field.TYPE_INT64, label=_Field.LABEL_OPTIONAL)
    request.field.add(
        name="metadata",
        number=4,
        type=_Field.TYPE_MESSAGE,
        type_name=".google.protobuf.Struct",
        label=_Field.LABEL_OPTIONAL,
    )
    response = file.message_type.add(name="IstioCertificateResponse")
    response.field.add(name="cert_chain", number=1, type=_Field.TYPE_STRING, label=_Field.LABEL_REPEATED)
    service = file.service.add(name=SERVICE.rpartition(".")[2])
    service.method.add(
        name=METHOD,
        input_type=f".{_PACKAGE}.{request.name}",
        output_type=f".{_PACKAGE}.{response.name}",
    )
    pool = descriptor_pool.DescriptorPool()
    pool.AddSerializedFile(struct_pb2.DESCRIPTOR.serialized_pb)
    pool.AddSerializedFile(file.SerializeToString())
    return (
        message_factory.GetMessageClass(pool.FindMessageTypeByName(f"{_PACKAGE}.{request.name}")),
        message_factory.GetMessageClass(pool.FindMessageTypeByName(f"{_PACKAGE}.{response.name}")),
    )


_REQUEST, _RESPONSE = _classes()
