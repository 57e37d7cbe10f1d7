import pytest

from mesh.model.match import StringKind, StringMatch
from mesh.model.secret import Secret, TlsCertificate, TrustBundle
from mesh.xds.kind import Kind
from tests.support.xds_json import ADS, TYPE, from_json, refused

AT = "transport_socket.typed_config.common_tls_context"
ROOTS = {"name": "roots", "sds_config": ADS}


def cluster(**common) -> dict:
    context = {
        "@type": TYPE + "extensions.transport_sockets.tls.v3.UpstreamTlsContext",
        "common_tls_context": common,
    }
    return {"name": "c", "type": "ORIGINAL_DST", "transport_socket": {"name": "t", "typed_config": context}}


def tls(**common):
    return from_json(Kind.CLUSTER, cluster(**common)).tls


def test_combined_context_gives_names_and_roots():
    name = {"san_type": "URI", "matcher": {"exact": "spiffe://a"}}
    combined = {
        "default_validation_context": {"match_typed_subject_alt_names": [name, {**name, "san_type": "DNS"}]},
        "validation_context_sds_secret_config": ROOTS,
    }
    decoded = tls(combined_validation_context=combined, alpn_protocols=["istio"])
    assert (decoded.trust_name, decoded.alpn) == ("roots", ("istio",))
    assert decoded.subject_alt_names == (StringMatch(StringKind.EXACT, "spiffe://a"),)


def agent(cluster_name: str = "sds-grpc", **changes) -> dict:
    api = {"api_type": "GRPC", "transport_api_version": "V3", "grpc_services": [{"envoy_grpc": {"cluster_name": cluster_name}}]}
    return {"api_config_source": {**api, "set_node_on_first_message_only": True, **changes}, "resource_api_version": "V3"}


def own(source: dict, name: str = "ROOTCA") -> dict:
    return {"validation_context_sds_secret_config": {"name": name, "sds_config": source}}


def test_the_proxys_own_secrets_come_from_the_agent():
    assert tls(**own(agent())).trust_name == "ROOTCA"


@pytest.mark.parametrize(
    ("common", "field"),
    [
        (own({"ads": {}}), "api_config_source"),
        (own({}), "api_config_source"),
        (own(agent("elsewhere")), "api_config_source.grpc_services"),
        (own(agent(grpc_services=[])), "api_config_source.grpc_services"),
        (own(agent(api_type="REST")), "api_config_source.api_type"),
        (own(agent(), "of-somebody"), "api_config_source"),
    ],
)
def test_secrets_from_the_wrong_place_are_refused(common, field):
    assert refused(Kind.CLUSTER, cluster(**common)) == f"{AT}.validation_context_sds_secret_config.sds_config.{field}"


def test_system_roots_by_file_or_by_name():
    file = {"trusted_ca": {"filename": "/etc/ssl/certs/ca-certificates.crt"}}
    assert tls(validation_context=file).system_roots
    assert tls(validation_context={"system_root_certs": {}}).system_roots


def test_other_files_are_names_of_their_own():
    pair = {"certificate_chain": {"filename": "/c"}, "private_key": {"filename": "/k"}}
    decoded = tls(validation_context={"trusted_ca": {"filename": "/ca"}}, tls_certificates=[pair])
    assert (decoded.trust_name, decoded.certificate_name) == ("file-root:/ca", "file-cert:/c~/k")
    assert not decoded.system_roots and not decoded.insecure


def test_older_secrets_and_strings_are_understood():
    document = {"name": "s", "validation_context": {"trusted_ca": {"inline_string": "pem"}}}
    assert from_json(Kind.SECRET, document) == Secret("s", trust=TrustBundle(b"pem"))
    pair = {"certificate_chain": {"inline_string": "a"}, "private_key": {"inline_bytes": "Yg=="}}
    assert from_json(Kind.SECRET, {"name": "s", "tls_certificate": pair}) == Secret("s", TlsCertificate(b"a", b"b"))


@pytest.mark.parametrize(
    ("common", "field"),
    [
        ({"validation_context": {"trusted_ca": {"inline_string": "pem"}}}, "validation_context.trusted_ca"),
        ({"validation_context": {"verify_certificate_hash": ["a"]}}, "validation_context.verify_certificate_hash"),
        ({"tls_certificates": [{}]}, "tls_certificates[0]"),
        ({"custom_handshaker": {}}, "custom_handshaker"),
        ({"tls_params": {"tls_maximum_protocol_version": "TLSv1_2"}}, "tls_params.tls_maximum_protocol_version"),
        ({"tls_certificate_sds_secret_configs": [{}]}, "tls_certificate_sds_secret_configs[0].name"),
        ({"tls_certificate_sds_secret_configs": [ROOTS, ROOTS]}, "tls_certificate_sds_secret_configs"),
        (
            {"validation_context_sds_secret_config": {"name": "r", "sds_config": {"api_config_source": {}}}},
            "validation_context_sds_secret_config.sds_config.api_config_source",
        ),
    ],
)
def test_what_would_weaken_or_change_tls_is_refused(common, field):
    assert refused(Kind.CLUSTER, cluster(**common)) == f"{AT}.{field}"


@pytest.mark.parametrize(
    ("document", "field"),
    [
        ({"name": "s"}, ""),
        ({"name": "s", "generic_secret": {}}, "generic_secret"),
        (
            {"name": "s", "tls_certificate": {"private_key": {"inline_string": "a"}}},
            "tls_certificate.certificate_chain",
        ),
        (
            {"name": "s", "validation_context": {"trusted_ca": {"filename": "/a"}}},
            "validation_context.trusted_ca.filename",
        ),
    ],
)
def test_secrets_that_are_none_are_refused(document, field):
    assert refused(Kind.SECRET, document) == field
