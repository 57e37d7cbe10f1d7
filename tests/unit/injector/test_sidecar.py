import json
from typing import Any

from injector import request
from injector.pod import Workload
from injector.proxy_config import ProxyConfig
from injector.settings import NativeSidecar, Settings
from injector.sidecar import Identity, init_container, literal_value, proxy_container, volumes
from tests.support.injector_pods import env_of, pod

IDENTITY = Identity("default", Workload("reviews-v1", "Deployment", "apps/v1", "default"), {"app": "reviews"}, {"a": "$(HOME)"}, "sa", ("reviews",))


def proxy(annotations: dict[str, str] | None = None, settings: Settings | None = None, **more: Any) -> dict[str, Any]:
    settings = settings or Settings()
    wish = request.read(pod(annotations=annotations), settings)
    return proxy_container(wish, IDENTITY, more.get("probers", {}), more.get("prometheus", {}), settings)


def test_environment_is_the_contract_with_the_proxy() -> None:
    container = proxy()
    downward = {item["name"]: item["valueFrom"]["fieldRef"]["fieldPath"] for item in container["env"] if "valueFrom" in item}
    assert downward == {
        "POD_NAME": "metadata.name",
        "POD_NAMESPACE": "metadata.namespace",
        "INSTANCE_IP": "status.podIP",
        "HOST_IP": "status.hostIP",
        "NODE_NAME": "spec.nodeName",
        "SERVICE_ACCOUNT": "spec.serviceAccountName",
    }
    plain = proxy({"proxy.istio.io/config": "controlPlaneAuthPolicy: NONE"})
    assert set(env_of(plain)) == {"TRIOMESH_STATE_DIR", "TRIOMESH_PROXY_CONFIG", "TRIOMESH_METADATA"}


def test_identity_is_a_token_and_roots_where_the_proxy_looks_for_them() -> None:
    wish = request.read(pod(annotations={"proxy.istio.io/config": "controlPlaneAuthPolicy: MUTUAL_TLS"}), Settings())
    container = proxy_container(wish, IDENTITY, {}, {}, Settings())
    env, places = env_of(container), {item["name"]: item for item in container["volumeMounts"]}
    found = {item["name"]: item for item in volumes(wish)}
    assert (env["TRIOMESH_CA_ROOTS"], env["TRIOMESH_CA_TOKEN"]) == (
        "/var/run/secrets/triomesh/root-cert.pem",
        "/var/run/secrets/tokens/triomesh-token",
    )
    assert places["triomesh-ca-root"] == {"name": "triomesh-ca-root", "mountPath": "/var/run/secrets/triomesh", "readOnly": True}
    assert places["triomesh-token"] == {"name": "triomesh-token", "mountPath": "/var/run/secrets/tokens", "readOnly": True}
    assert found["triomesh-ca-root"] == {"name": "triomesh-ca-root", "configMap": {"name": "triomesh-ca-root-cert"}}
    token = {"audience": "triomesh-ca", "expirationSeconds": 43200, "path": "triomesh-token"}
    assert found["triomesh-token"] == {"name": "triomesh-token", "projected": {"sources": [{"serviceAccountToken": token}]}}
    assert found["triomesh-state"] == {"name": "triomesh-state", "emptyDir": {"medium": "Memory", "sizeLimit": "64Mi"}}


def test_metadata_has_istios_keys_and_the_kubelet_fills_in_the_name() -> None:
    text = env_of(proxy())["TRIOMESH_METADATA"]
    assert text.startswith('{"NAME":"$(POD_NAME)",')
    metadata = literal_value(text)
    assert set(metadata) == {"NAME", "NAMESPACE", "LABELS", "ANNOTATIONS", "WORKLOAD_NAME", "OWNER", "CLUSTER_ID", "MESH_ID", "SERVICE_ACCOUNT", "INTERCEPTION_MODE", "APP_CONTAINERS", "PROXY_CONFIG", "TRIOMESH_VERSION"}
    assert metadata["OWNER"] == "kubernetes://apis/apps/v1/namespaces/default/deployments/reviews-v1"
    assert metadata["INTERCEPTION_MODE"] == "REDIRECT"


def test_mesh_wide_telemetry_stays_live_and_the_pods_own_is_told_to_the_control_plane() -> None:
    settings = Settings(proxy_config=ProxyConfig(mesh_otlp="c:4317"))
    env = env_of(proxy(settings=settings))
    assert literal_value(env["TRIOMESH_METADATA"])["PROXY_CONFIG"].keys().isdisjoint({"tracing", "accessLog"})
    assert literal_value(env["TRIOMESH_PROXY_CONFIG"])["tracing"] == {"otlp": "c:4317"}
    env = env_of(proxy({"proxy.istio.io/config": "accessLog: {path: /dev/stderr}"}, settings))
    for name in ("TRIOMESH_METADATA", "TRIOMESH_PROXY_CONFIG"):
        read = literal_value(env[name])
        assert read.get("PROXY_CONFIG", read)["accessLog"] == {"path": "/dev/stderr"}


def test_dollar_signs_of_users_are_kept_from_the_kubelets_expansion() -> None:
    text = env_of(proxy())["TRIOMESH_METADATA"]
    assert "$$(HOME)" in text
    assert literal_value(text)["ANNOTATIONS"] == {"a": "$(HOME)"}


def test_probers_and_scrape_annotations_travel_as_json() -> None:
    env = env_of(proxy(probers={"/app-health/a/readyz": {"tcpSocket": {"port": 1}}}, prometheus={"scrape": "true", "port": "80", "path": "/m"}))
    assert json.loads(env["TRIOMESH_APP_PROBERS"]) == {"/app-health/a/readyz": {"tcpSocket": {"port": 1}}}
    assert json.loads(env["TRIOMESH_PROMETHEUS_ANNOTATIONS"]) == {"scrape": "true", "port": "80", "path": "/m"}


def test_classic_waits_only_if_asked_and_native_drains() -> None:
    assert "lifecycle" not in proxy()
    held = proxy({"proxy.istio.io/config": "holdApplicationUntilProxyStarts: true"})
    assert held["lifecycle"] == {"postStart": {"exec": {"command": ["python", "-m", "mesh.proxy", "wait"]}}}
    native = proxy(settings=Settings(native_sidecar=NativeSidecar.ON))
    assert native["restartPolicy"] == "Always"
    assert native["lifecycle"]["preStop"]["exec"]["command"][-2:] == ["POST", "/drain_listeners?graceful"]


def test_proxy_has_no_rights_and_init_has_two() -> None:
    security = proxy()["securityContext"]
    assert (security["runAsUser"], security["runAsNonRoot"], security["readOnlyRootFilesystem"]) == (1337, True, True)
    assert security["capabilities"] == {"drop": ["ALL"]}
    init = init_container(request.read(pod(), Settings()), Settings())
    assert init is not None
    assert init["securityContext"]["capabilities"] == {"add": ["NET_ADMIN", "NET_RAW"], "drop": ["ALL"]}


def test_nothing_to_intercept_needs_no_init_container() -> None:
    wish = request.read(pod(annotations={"sidecar.istio.io/interceptionMode": "NONE"}), Settings())
    assert init_container(wish, Settings()) is None
    assert literal_value(env_of(proxy_container(wish, IDENTITY, {}, {}, Settings()))["TRIOMESH_METADATA"])["INTERCEPTION_MODE"] == "NONE"


def test_gateway_is_a_router() -> None:
    assert proxy({"inject.istio.io/templates": "gateway"})["args"] == ["router"]


def test_pull_policy_is_set_only_when_configured() -> None:
    assert "imagePullPolicy" not in proxy()
    assert proxy(settings=Settings(image_pull_policy="Never"))["imagePullPolicy"] == "Never"
