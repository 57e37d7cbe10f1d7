import json
from pathlib import Path

import pytest

from mesh.model.addr import Address
from mesh.model.node import Role
from mesh.proxy.bootstrap import BadEnvironment, parse_address, parse_duration, read_environment
from mesh.proxy.control_plane import ControlPlane
from mesh.proxy.identity_keeper import IdentitySettings

CONFIG = {
    "discoveryAddress": "triomesh-control.triomesh-system.svc:15010",
    "tracing": {"sampling": 50, "otlp": "collector:4317"},
    "accessLog": {"path": "/dev/stdout", "format": "JSON"},
    "drainDuration": "45s",
    "terminationDrainDuration": "5s",
}
ENVIRONMENT = {
    "POD_NAME": "reviews-v1",
    "POD_NAMESPACE": "shop",
    "INSTANCE_IP": "198.18.0.7",
    "TRIOMESH_PROXY_CONFIG": json.dumps(CONFIG),
    "TRIOMESH_METADATA": json.dumps({"LABELS": {"app": "reviews"}}),
}


def test_what_the_injector_writes_is_understood() -> None:
    bootstrap = read_environment(ENVIRONMENT, Role.SIDECAR)
    assert bootstrap.node.id == "sidecar~198.18.0.7~reviews-v1.shop~shop.svc.cluster.local"
    assert bootstrap.node.labels == {"app": "reviews"}
    assert bootstrap.discovery == ControlPlane(Address("triomesh-control.triomesh-system.svc", 15010))
    assert bootstrap.identity is None
    assert (bootstrap.drain_seconds, bootstrap.termination_drain_seconds) == (45.0, 5.0)
    tracing, log = bootstrap.telemetry.default_tracing, bootstrap.telemetry.default_access_log
    assert tracing is not None and tracing.random_sampling_percent == 50
    assert (
        log is not None and log.path == "/dev/stdout" and dict(log.json or ())["response_flags"] == "%RESPONSE_FLAGS%"
    )


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"POD_NAME": ""}, "POD_NAME is not set"),
        ({"TRIOMESH_PROXY_CONFIG": ""}, "TRIOMESH_PROXY_CONFIG is not set"),
        ({"TRIOMESH_PROXY_CONFIG": "{"}, "TRIOMESH_PROXY_CONFIG is not JSON"),
        ({"TRIOMESH_PROXY_CONFIG": "{}"}, "discoveryAddress is missing"),
        ({"TRIOMESH_PROXY_CONFIG": '{"discoveryAddress": "x"}'}, "'x' is not host:port"),
        ({"TRIOMESH_PROXY_CONFIG": '{"discoveryAddress": "x:1", "drainDuration": "soon"}'}, "drainDuration: 'soon'"),
        ({"TRIOMESH_PROXY_CONFIG": '{"discoveryAddress": "x:1", "tracing": {"sampling": 101}}'}, "percentage"),
        ({"TRIOMESH_PROXY_CONFIG": '{"discoveryAddress": "x:1", "logLevel": "loud"}'}, "logLevel 'loud'"),
        ({"TRIOMESH_PROXY_CONFIG": '{"discoveryAddress": "x:1", "accessLog": {"format": "XML"}}'}, "format 'XML'"),
        ({"TRIOMESH_PROXY_CONFIG": '{"discoveryAddress": "x:1", "controlPlaneAuthPolicy": "SOME"}'}, "controlPlaneAuthPolicy 'SOME'"),
        (
            {
                "TRIOMESH_PROXY_CONFIG": '{"discoveryAddress": "x:1", "controlPlaneAuthPolicy": "MUTUAL_TLS"}',
                "TRIOMESH_METADATA": '{"SERVICE_ACCOUNT": 1}',
            },
            "SERVICE_ACCOUNT is not a string",
        ),
        ({"TRIOMESH_METADATA": "[]"}, "TRIOMESH_METADATA is not a JSON object"),
        ({"TRIOMESH_APP_PROBERS": "{"}, "TRIOMESH_APP_PROBERS"),
    ],
)
def test_mistakes_name_the_variable(changes: dict[str, str], message: str) -> None:
    with pytest.raises(BadEnvironment) as caught:
        read_environment({**ENVIRONMENT, **changes}, Role.SIDECAR)
    assert message in str(caught.value)


def test_with_mutual_tls_there_is_an_identity() -> None:
    config = CONFIG | {"discoveryAddress": "control.svc:15012", "controlPlaneAuthPolicy": "MUTUAL_TLS"}
    environment = ENVIRONMENT | {
        "TRIOMESH_PROXY_CONFIG": json.dumps(config),
        "TRIOMESH_METADATA": json.dumps({"SERVICE_ACCOUNT": "reviews"}),
        "TRIOMESH_STATE_DIR": "/state",
    }
    address = Address("control.svc", 15012)
    usual = ControlPlane(
        address, Path("/var/run/secrets/triomesh/root-cert.pem"), Path("/var/run/secrets/tokens/triomesh-token")
    )
    bootstrap = read_environment(environment, Role.SIDECAR)
    assert bootstrap.discovery == usual
    assert bootstrap.identity == IdentitySettings(usual, "shop", "reviews", Path("/state/identity.pem"))
    elsewhere = {"TRIOMESH_CA_ROOTS": "/r.pem", "TRIOMESH_CA_TOKEN": "/t", "TRIOMESH_STATE_DIR": "", "TRIOMESH_METADATA": ""}
    other = ControlPlane(address, Path("/r.pem"), Path("/t"))
    assert read_environment(environment | elsewhere, Role.SIDECAR).identity == IdentitySettings(other, "shop")
    assert read_environment(environment, Role.ROUTER, is_static=True).identity is None


def test_static_configuration_needs_no_variable_at_all() -> None:
    bootstrap = read_environment({}, Role.ROUTER, is_static=True)
    assert bootstrap.discovery is None and bootstrap.node.role is Role.ROUTER


@pytest.mark.parametrize(
    ("text", "seconds"), [("5s", 5.0), ("1m30s", 90.0), ("100ms", 0.1), ("0s", 0.0), ("1.5h", 5400.0)]
)
def test_durations(text: str, seconds: float) -> None:
    assert parse_duration(text, "x") == pytest.approx(seconds)


@pytest.mark.parametrize("text", ["", "5", "s", "5x", "1.2.3s", "-1s"])
def test_bad_durations(text: str) -> None:
    with pytest.raises(BadEnvironment, match=r"^x: "):
        parse_duration(text, "x")


def test_addresses() -> None:
    assert parse_address("[::1]:80", "x") == Address("::1", 80)
    for text in ("a", ":80", "a:0", "a:65536", "a:b"):
        with pytest.raises(BadEnvironment, match=r"^x: "):
            parse_address(text, "x")
