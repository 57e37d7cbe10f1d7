"""Transport sockets to TLS settings, SDS resources to Secrets."""

from __future__ import annotations

from typing import Any

import envoy.extensions.transport_sockets.raw_buffer.v3.raw_buffer_pb2 as raw_buffer_pb
import envoy.extensions.transport_sockets.tls.v3.common_pb2 as common_pb
import envoy.extensions.transport_sockets.tls.v3.secret_pb2 as secret_pb
import envoy.extensions.transport_sockets.tls.v3.tls_pb2 as tls_pb

from mesh.model.match import StringMatch
from mesh.model.secret import (
    FILE_CERTIFICATE,
    FILE_ROOTS,
    WORKLOAD_SECRETS,
    DownstreamTls,
    Secret,
    TlsCertificate,
    TrustBundle,
    UpstreamTls,
)
from mesh.xds.decode.common import (
    STRING_FIELDS,
    Reader,
    read_ads_source,
    read_string_match,
    read_workload_source,
    type_name,
)
from mesh.xds.wire import SYSTEM_ROOTS_FILE

MESSAGE = secret_pb.Secret

_COMMON_FIELDS = (
    "tls_certificates",
    "tls_certificate_sds_secret_configs",
    "validation_context",
    "validation_context_sds_secret_config",
    "combined_validation_context",
    "alpn_protocols",
    "tls_params",
)
_UPSTREAM_FIELDS = ("common_tls_context", "sni")
# Renegotiation does not exist in our TLS; how many sessions are remembered changes speed, not behaviour.
_UPSTREAM_HARMLESS = ("max_session_keys", "enforce_rsa_key_usage")
_DOWNSTREAM_FIELDS = ("common_tls_context", "require_client_certificate")
# Session resumption is never offered by us, stapling needs a staple.
_DOWNSTREAM_HARMLESS = (
    "disable_stateless_session_resumption",
    "disable_stateful_session_resumption",
    "session_timeout",
    "ocsp_staple_policy",
    "prefer_client_ciphers",
    "full_scan_certs_on_sni_mismatch",
)
_TRUST_FIELDS = ("trusted_ca", "system_root_certs", "match_typed_subject_alt_names", "match_subject_alt_names")
_TRUST_HARMLESS = ("max_verify_depth",)
_VERSIONS = {
    common_pb.TlsParameters.TLS_AUTO: "1.2",
    common_pb.TlsParameters.TLSv1_0: "1.0",
    common_pb.TlsParameters.TLSv1_1: "1.1",
    common_pb.TlsParameters.TLSv1_2: "1.2",
    common_pb.TlsParameters.TLSv1_3: "1.3",
}


def decode_secret(message: Any, resource: str = "", path: str = "") -> Secret:
    """Raises: DecodeError."""
    reader = Reader(message, resource or message.name, path, ("name", "tls_certificate", "validation_context"))
    chosen = message.WhichOneof("type")
    if chosen == "tls_certificate":
        certificate = reader.child("tls_certificate", ("certificate_chain", "private_key"))
        chain = _inline(certificate, "certificate_chain")
        return Secret(message.name, certificate=TlsCertificate(chain, _inline(certificate, "private_key")))
    if chosen == "validation_context":
        context = reader.child("validation_context", _TRUST_FIELDS, _TRUST_HARMLESS)
        return Secret(message.name, trust=TrustBundle(_inline(context, "trusted_ca"), _alt_names(context)))
    raise reader.error("", "is neither a certificate nor a validation context")


def read_upstream_socket(reader: Reader, field: str, auto_sni: bool) -> UpstreamTls | None:
    """A cluster's transport socket; None = plaintext."""
    socket = reader.child(field, ("name", "typed_config"))
    if socket.message.typed_config.Is(raw_buffer_pb.RawBuffer.DESCRIPTOR):
        return None
    if not socket.message.typed_config.Is(tls_pb.UpstreamTlsContext.DESCRIPTOR):
        kind = type_name(socket.message.typed_config) or socket.message.name
        raise socket.error("typed_config", f"transport socket {kind} is not supported")
    context = socket.unpack("typed_config", tls_pb.UpstreamTlsContext(), _UPSTREAM_FIELDS, _UPSTREAM_HARMLESS)
    common = context.child("common_tls_context", _COMMON_FIELDS)
    if common.has("tls_params"):
        _min_version(common)
    certificates = _certificate_names(common)
    if len(certificates) > 1:
        raise common.error("tls_certificate_sds_secret_configs", "a client has at most one certificate")
    trust_name, names, system_roots = _trust(common)
    return UpstreamTls(
        certificate_name=certificates[0] if certificates else "",
        trust_name=trust_name,
        sni=context.message.sni,
        auto_sni=auto_sni,
        alpn=tuple(common.message.alpn_protocols),
        subject_alt_names=names,
        system_roots=system_roots,
        insecure=not trust_name and not system_roots,
    )


def read_downstream_socket(reader: Reader, field: str) -> DownstreamTls | None:
    """A filter chain's transport socket; None = plaintext."""
    socket = reader.child(field, ("name", "typed_config"))
    if socket.message.typed_config.Is(raw_buffer_pb.RawBuffer.DESCRIPTOR):
        return None
    if not socket.message.typed_config.Is(tls_pb.DownstreamTlsContext.DESCRIPTOR):
        kind = type_name(socket.message.typed_config) or socket.message.name
        raise socket.error("typed_config", f"transport socket {kind} is not supported")
    context = socket.unpack("typed_config", tls_pb.DownstreamTlsContext(), _DOWNSTREAM_FIELDS, _DOWNSTREAM_HARMLESS)
    common = context.child("common_tls_context", _COMMON_FIELDS)
    trust_name, names, system_roots = _trust(common)
    if names or system_roots:
        raise common.error("combined_validation_context", "for a server, names belong into the secret itself")
    certificates = _certificate_names(common)
    if not certificates:
        raise common.error("tls_certificate_sds_secret_configs", "a TLS server needs a certificate")
    return DownstreamTls(
        certificate_names=certificates,
        trust_name=trust_name,
        require_client_certificate=context.wrapped("require_client_certificate", False),
        alpn=tuple(common.message.alpn_protocols),
        min_version=_min_version(common),
    )


def _trust(common: Reader) -> tuple[str, tuple[StringMatch, ...], bool]:
    """(secret's name, accepted peer names, whether the system's roots are meant)."""
    chosen = common.message.WhichOneof("validation_context_type")
    if chosen == "validation_context_sds_secret_config":
        return _sds_name(common.child(chosen, ("name", "sds_config"))), (), False
    if chosen == "validation_context":
        context = common.child(chosen, _TRUST_FIELDS, _TRUST_HARMLESS)
        is_system = _is_system(context)
        file = "" if is_system else _file(context, "trusted_ca")
        return f"{FILE_ROOTS}{file}" if file else "", _alt_names(context), is_system
    if chosen == "combined_validation_context":
        combined = common.child(chosen, ("default_validation_context", "validation_context_sds_secret_config"))
        defaults = combined.child("default_validation_context", _TRUST_FIELDS, _TRUST_HARMLESS)
        secret = combined.child("validation_context_sds_secret_config", ("name", "sds_config"))
        if _is_system(defaults) or _file(defaults, "trusted_ca"):
            raise defaults.error("trusted_ca", "two sources of trust")
        return _sds_name(secret), _alt_names(defaults), False
    return "", (), False


def _is_system(context: Reader) -> bool:
    if context.has("system_root_certs"):
        return True
    if not context.has("trusted_ca"):
        return False
    return _file(context, "trusted_ca") == SYSTEM_ROOTS_FILE


def _file(context: Reader, field: str) -> str:
    """A file where the proxy runs; "" = the field is not set."""
    if not context.has(field):
        return ""
    source = context.child(field, ("filename", "inline_bytes", "inline_string"))
    if not source.message.filename:
        raise source.error("", "only a file or a secret by SDS is supported")
    return str(source.message.filename)


def _alt_names(context: Reader) -> tuple[StringMatch, ...]:
    typed = [
        read_string_match(name.child("matcher", STRING_FIELDS))
        for name in context.children("match_typed_subject_alt_names", ("san_type", "matcher"))
    ]
    plain = [read_string_match(name) for name in context.children("match_subject_alt_names", STRING_FIELDS)]
    # The same name listed for two types (DNS and URI) is one name here.
    return tuple(dict.fromkeys(typed + plain))


def _certificate_names(common: Reader) -> tuple[str, ...]:
    configs = common.children("tls_certificate_sds_secret_configs", ("name", "sds_config"))
    names = [_sds_name(config) for config in configs]
    for certificate in common.children("tls_certificates", ("certificate_chain", "private_key")):
        chain, key = _file(certificate, "certificate_chain"), _file(certificate, "private_key")
        if not chain or not key:
            raise certificate.error("", "needs a certificate_chain and a private_key")
        names.append(f"{FILE_CERTIFICATE}{chain}~{key}")
    return tuple(names)


def _sds_name(config: Reader) -> str:
    if not config.message.name:
        raise config.error("name", "is empty")
    name = str(config.message.name)
    if name in WORKLOAD_SECRETS:
        read_workload_source(config, "sds_config")
    elif config.has("sds_config"):
        read_ads_source(config, "sds_config")
    return name


def _min_version(common: Reader) -> str:
    fields = ("tls_minimum_protocol_version", "tls_maximum_protocol_version")
    # Ciphers and curves: what OpenSSL's defaults offer is a superset of what control planes list here.
    params = common.child("tls_params", fields, ("cipher_suites", "ecdh_curves", "signature_algorithms"))
    highest = params.message.tls_maximum_protocol_version
    if highest not in (common_pb.TlsParameters.TLS_AUTO, common_pb.TlsParameters.TLSv1_3):
        raise params.error("tls_maximum_protocol_version", "an upper limit is not supported")
    return _VERSIONS[params.message.tls_minimum_protocol_version]


def _inline(reader: Reader, field: str) -> bytes:
    source = reader.child(field, ("inline_bytes", "inline_string"))
    chosen = source.message.WhichOneof("specifier")
    if chosen is None:
        raise reader.error(field, "is missing")
    value = getattr(source.message, chosen)
    return value if isinstance(value, bytes) else str(value).encode()
