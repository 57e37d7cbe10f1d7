import pytest

from mesh.model.cluster import Cluster, Discovery
from mesh.model.listener import FilterChain, HttpManager, Listener
from mesh.model.match import StringKind, StringMatch
from mesh.model.secret import DownstreamTls, Secret, TlsCertificate, TrustBundle, UpstreamTls
from tests.support.xds_json import to_json, unencodable

NAME = StringMatch(StringKind.EXACT, "a.example")
SPIFFE = StringMatch(StringKind.PREFIX, "spiffe://td/ns/")


def cluster(tls: UpstreamTls) -> Cluster:
    return Cluster("c", Discovery.EDS, tls=tls)


def listener(tls: DownstreamTls) -> Listener:
    return Listener("l", chains=(FilterChain(HttpManager("s", route_config_name="r"), tls=tls),))


def common(value) -> dict:
    return to_json(value)["transport_socket"]["typed_config"]["common_tls_context"]


@pytest.mark.parametrize(
    ("value", "field"),
    [
        (cluster(UpstreamTls()), "tls"),
        (cluster(UpstreamTls(trust_name="t", insecure=True)), "tls"),
        (cluster(UpstreamTls(insecure=True, subject_alt_names=(NAME,))), "tls.subject_alt_names"),
        (listener(DownstreamTls(())), "chains[0].tls.certificate_names"),
        (listener(DownstreamTls(("c",), require_client_certificate=True)), "chains[0].tls.trust_name"),
        (listener(DownstreamTls(("c",), min_version="1.4")), "chains[0].tls.min_version"),
        (Secret("s"), ""),
        (Secret("s", TlsCertificate(b"", b""), TrustBundle(b"")), ""),
    ],
)
def test_unclear_trust_is_refused(value, field):
    assert unencodable(value) == field


def test_secrets_are_asked_for_on_the_same_stream():
    context = common(cluster(UpstreamTls("cert", "roots")))
    assert context["validation_context_sds_secret_config"]["sds_config"]["ads"] == {}
    assert context["tls_certificate_sds_secret_configs"][0]["name"] == "cert"


def test_the_proxys_own_are_asked_of_the_agent_in_istios_words():
    context = common(cluster(UpstreamTls("default", "ROOTCA")))
    agent = {
        "api_config_source": {
            "api_type": "GRPC",
            "transport_api_version": "V3",
            "grpc_services": [{"envoy_grpc": {"cluster_name": "sds-grpc"}}],
            "set_node_on_first_message_only": True,
        },
        "initial_fetch_timeout": "0s",
        "resource_api_version": "V3",
    }
    assert context["validation_context_sds_secret_config"] == {"name": "ROOTCA", "sds_config": agent}
    assert context["tls_certificate_sds_secret_configs"] == [{"name": "default", "sds_config": agent}]


def test_names_are_typed_by_their_look():
    context = common(cluster(UpstreamTls(trust_name="roots", subject_alt_names=(NAME, SPIFFE))))
    names = context["combined_validation_context"]["default_validation_context"]["match_typed_subject_alt_names"]
    assert [entry["san_type"] for entry in names] == ["DNS", "URI"]


def test_system_roots_are_a_file():
    assert common(cluster(UpstreamTls(system_roots=True)))["validation_context"]["trusted_ca"] == {
        "filename": "/etc/ssl/certs/ca-certificates.crt"
    }


def test_secret_holds_pem_inline():
    document = to_json(Secret("s", TlsCertificate(b"chain", b"key")))
    assert set(document["tls_certificate"]) == {"certificate_chain", "private_key"}
