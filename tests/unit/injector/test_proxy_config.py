import pytest

from injector.fields import BadField
from injector.proxy_config import ProxyConfig


def test_json_is_the_contract_with_the_proxy() -> None:
    assert ProxyConfig().to_json() == {
        "discoveryAddress": "triomesh-control.triomesh-system.svc:15012",
        "controlPlaneAuthPolicy": "MUTUAL_TLS",
        "drainDuration": "45s",
        "terminationDrainDuration": "5s",
        "concurrency": 1,
        "logLevel": "info",
        "holdApplicationUntilProxyStarts": False,
    }


def test_what_nobody_gave_stays_the_meshs_to_say() -> None:
    # The process has to know the collector when it starts; to the control plane that is no wish of the pod's.
    config = ProxyConfig(mesh_otlp="c:4317").merged({"tracing": {"sampling": 5}, "accessLog": {"path": ""}}, "a")
    assert config.own_json()["tracing"] == {"sampling": 5} and config.own_json()["accessLog"] == {"path": ""}
    assert config.to_json()["tracing"] == {"sampling": 5, "otlp": "c:4317"}
    own = config.merged({"tracing": {"otlp": ""}}, "a")
    assert own.own_json()["tracing"] == own.to_json()["tracing"] == {"sampling": 5, "otlp": ""}


def test_only_given_fields_are_replaced() -> None:
    base = ProxyConfig(otlp="c:4317", access_log_path="/dev/stdout")
    merged = base.merged_yaml("tracing: {sampling: 10}\nconcurrency: 2", "a")
    assert merged == ProxyConfig(otlp="c:4317", access_log_path="/dev/stdout", sampling_percent=10, concurrency=2)


def test_empty_string_switches_access_log_and_otlp_off() -> None:
    merged = ProxyConfig(otlp="c:4317", access_log_path="/dev/stdout").merged({"tracing": {"otlp": ""}, "accessLog": {"path": ""}}, "a")
    assert (merged.otlp, merged.access_log_path) == ("", "")


def test_own_json_reads_back() -> None:
    config = ProxyConfig(sampling_percent=7, hold_application=True, log_level="debug")
    assert ProxyConfig().merged(config.own_json(), "a") == config


@pytest.mark.parametrize(
    ("before", "given", "address", "policy"),
    [
        (("c.d:15010", "NONE"), "controlPlaneAuthPolicy: MUTUAL_TLS", "c.d:15012", "MUTUAL_TLS"),
        (("c.d:15012", "MUTUAL_TLS"), "controlPlaneAuthPolicy: NONE", "c.d:15010", "NONE"),
        (("c.d:15012", "MUTUAL_TLS"), "discoveryAddress: 'e:15010'", "e:15010", "NONE"),
        (("c.d:15010", "NONE"), "discoveryAddress: 'e:15012'", "e:15012", "MUTUAL_TLS"),
        (("c.d:15012", "MUTUAL_TLS"), "discoveryAddress: 'e:443'", "e:443", "MUTUAL_TLS"),
        (("c.d:443", "MUTUAL_TLS"), "controlPlaneAuthPolicy: NONE", "c.d:443", "NONE"),
        (("c.d:15010", "NONE"), "{controlPlaneAuthPolicy: MUTUAL_TLS, discoveryAddress: 'e:15012'}", "e:15012", "MUTUAL_TLS"),
    ],
)
def test_port_and_policy_go_together(before: tuple[str, str], given: str, address: str, policy: str) -> None:
    merged = ProxyConfig(discovery_address=before[0], control_plane_auth_policy=before[1]).merged_yaml(given, "a")
    assert (merged.discovery_address, merged.control_plane_auth_policy) == (address, policy)
    assert merged.has_identity is (policy == "MUTUAL_TLS")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("proxyMetadata: {A: b}", "a.proxyMetadata: unknown field"),
        ("controlPlaneAuthPolicy: ISTIO_MUTUAL", "a.controlPlaneAuthPolicy: must be one of NONE, MUTUAL_TLS"),
        (
            "{controlPlaneAuthPolicy: MUTUAL_TLS, discoveryAddress: 'c:15010'}",
            "a.controlPlaneAuthPolicy: MUTUAL_TLS and discoveryAddress c:15010 contradict each other: that port is for NONE",
        ),
        ("drainDuration: 45", "a.drainDuration: must be a duration"),
        ("tracing: {sampling: lots}", "a.tracing.sampling: must be a number"),
        ("accessLog: {path: 3}", "a.accessLog.path: must be a non-empty string"),
        ("logLevel: loud", "a.logLevel: must be one of trace"),
        ("x: [", "a: is not YAML"),
        ("just text", "a: must be a mapping"),
    ],
)
def test_error_names_the_field(text: str, message: str) -> None:
    with pytest.raises(BadField) as caught:
        ProxyConfig().merged_yaml(text, "a")
    assert message in str(caught.value)
