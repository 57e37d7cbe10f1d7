"""TLS settings to transport sockets, Secrets to SDS resources."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import envoy.config.core.v3.base_pb2 as base_pb
import envoy.extensions.transport_sockets.raw_buffer.v3.raw_buffer_pb2 as raw_buffer_pb
import envoy.extensions.transport_sockets.tls.v3.common_pb2 as common_pb
import envoy.extensions.transport_sockets.tls.v3.secret_pb2 as secret_pb
import envoy.extensions.transport_sockets.tls.v3.tls_pb2 as tls_pb
from google.protobuf.wrappers_pb2 import BoolValue

from mesh.model.match import StringMatch
from mesh.model.secret import FILE_CERTIFICATE, FILE_ROOTS, WORKLOAD_SECRETS, DownstreamTls, Secret, UpstreamTls
from mesh.xds.encode.common import Path, ads_source, pack, string_match, workload_source
from mesh.xds.wire import RAW_SOCKET, SYSTEM_ROOTS_FILE, TLS_SOCKET

_VERSIONS = {
    "1.0": common_pb.TlsParameters.TLSv1_0,
    "1.1": common_pb.TlsParameters.TLSv1_1,
    "1.2": common_pb.TlsParameters.TLSv1_2,
    "1.3": common_pb.TlsParameters.TLSv1_3,
}


def encode_secret(value: Secret, path: Path | None = None) -> Any:
    """Raises: EncodeError: not exactly one of certificate and trust."""
    path = path or Path(value.name)
    if (value.certificate is None) == (value.trust is None):
        raise path.error("", "needs exactly one of certificate and trust")
    message = secret_pb.Secret(name=value.name)
    if value.certificate is not None:
        message.tls_certificate.certificate_chain.inline_bytes = value.certificate.chain_pem
        message.tls_certificate.private_key.inline_bytes = value.certificate.key_pem
    if value.trust is not None:
        message.validation_context.trusted_ca.inline_bytes = value.trust.roots_pem
        names = _alt_names(value.trust.subject_alt_names, path.at("trust"))
        message.validation_context.match_typed_subject_alt_names.extend(names)
    return message


def upstream_socket(tls: UpstreamTls | None, path: Path) -> Any:
    """Transport socket towards endpoints; None = plaintext."""
    if tls is None:
        return base_pb.TransportSocket(name=RAW_SOCKET, typed_config=pack(raw_buffer_pb.RawBuffer()))
    common = tls_pb.CommonTlsContext(alpn_protocols=tls.alpn)
    if tls.certificate_name:
        _certificate(common, tls.certificate_name, path)
    _validation(common, tls, path)
    context = tls_pb.UpstreamTlsContext(common_tls_context=common, sni=tls.sni)
    return base_pb.TransportSocket(name=TLS_SOCKET, typed_config=pack(context))


def downstream_socket(tls: DownstreamTls, path: Path) -> Any:
    """Transport socket of a filter chain that terminates TLS."""
    if not tls.certificate_names:
        raise path.error("certificate_names", "a TLS server needs a certificate")
    if tls.require_client_certificate and not tls.trust_name:
        raise path.error("trust_name", "client certificates are required, but nothing says which to trust")
    if tls.min_version not in _VERSIONS:
        raise path.error("min_version", f"{tls.min_version!r} is not one of {', '.join(_VERSIONS)}")
    common = tls_pb.CommonTlsContext(
        alpn_protocols=tls.alpn,
        tls_params=common_pb.TlsParameters(tls_minimum_protocol_version=_VERSIONS[tls.min_version]),
    )
    for name in tls.certificate_names:
        _certificate(common, name, path)
    if tls.trust_name.startswith(FILE_ROOTS):
        common.validation_context.trusted_ca.filename = tls.trust_name.removeprefix(FILE_ROOTS)
    elif tls.trust_name:
        common.validation_context_sds_secret_config.CopyFrom(_sds(tls.trust_name))
    context = tls_pb.DownstreamTlsContext(
        common_tls_context=common, require_client_certificate=BoolValue(value=tls.require_client_certificate)
    )
    return base_pb.TransportSocket(name=TLS_SOCKET, typed_config=pack(context))


def _certificate(common: Any, name: str, path: Path) -> None:
    if not name.startswith(FILE_CERTIFICATE):
        common.tls_certificate_sds_secret_configs.append(_sds(name))
        return
    chain, tilde, key = name.removeprefix(FILE_CERTIFICATE).partition("~")
    if not tilde:
        raise path.error("certificate_name", f"{name!r} names no private key")
    certificate = common.tls_certificates.add()
    certificate.certificate_chain.filename = chain
    certificate.private_key.filename = key


def _validation(common: Any, tls: UpstreamTls, path: Path) -> None:
    """Exactly one way to trust: a named bundle, the system's, or (said aloud) none."""
    ways = [bool(tls.trust_name), tls.system_roots, tls.insecure]
    if sum(ways) != 1:
        raise path.error("", "needs exactly one of trust_name, system_roots and insecure")
    names = _alt_names(tls.subject_alt_names, path)
    if tls.insecure:
        if names:
            raise path.error("subject_alt_names", "cannot be checked on an unverified certificate")
    elif tls.system_roots or tls.trust_name.startswith(FILE_ROOTS):
        file = SYSTEM_ROOTS_FILE if tls.system_roots else tls.trust_name.removeprefix(FILE_ROOTS)
        common.validation_context.trusted_ca.filename = file
        common.validation_context.match_typed_subject_alt_names.extend(names)
    elif names:
        combined = common.combined_validation_context
        combined.default_validation_context.match_typed_subject_alt_names.extend(names)
        combined.validation_context_sds_secret_config.CopyFrom(_sds(tls.trust_name))
    else:
        common.validation_context_sds_secret_config.CopyFrom(_sds(tls.trust_name))


def _alt_names(names: Iterable[StringMatch], path: Path) -> list[Any]:
    """Envoy wants the type of each name: a SPIFFE id or other URI shows itself by its scheme."""
    matcher = common_pb.SubjectAltNameMatcher
    return [
        matcher(
            san_type=matcher.URI if "://" in name.value else matcher.DNS,
            matcher=string_match(name, path, f"subject_alt_names[{i}]"),
        )
        for i, name in enumerate(names)
    ]


def _sds(name: str) -> Any:
    source = workload_source() if name in WORKLOAD_SECRETS else ads_source()
    return secret_pb.SdsSecretConfig(name=name, sds_config=source)
