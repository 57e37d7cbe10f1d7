"""Clients that are not ours on the mesh's own control plane: a real Envoy as a sidecar, and gRPC's proxyless xDS."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest
import yaml

from tests.support.mesh_sandbox import NAMESPACE, PEERS, ROOT, Mesh, until
from tests.support.xds_server import ENVOY, NO_ENVOY

pytestmark = [pytest.mark.root, pytest.mark.e2e]

CONTROL = "triomesh-control.triomesh-system.svc.cluster.local"
CALLS = 1000
APP = """
apiVersion: v1
kind: Pod
metadata: {name: envoy, labels: {app: envoy}, annotations: {proxy.istio.io/config: "controlPlaneAuthPolicy: NONE"}}
spec:
  terminationGracePeriodSeconds: 1
  containers:
  - {name: app, image: "python:3.11", command: [sleep, infinity]}
"""


def envoy_pod() -> dict[str, Any]:
    """The pod that our injector makes, with Envoy in place of our proxy: same rules of the kernel, same user, same node id."""
    command = [sys.executable, "-m", "mesh.cli", "inject", "-f", "-"]
    done = subprocess.run(command, input=APP, capture_output=True, text=True, check=True, cwd=ROOT)
    pod: dict[str, Any] = yaml.safe_load(done.stdout)
    pod["metadata"]["labels"]["sidecar.triomesh.io/inject"] = "false"
    assert "security.istio.io/tlsMode" not in pod["metadata"]["labels"]
    proxy = next(container for container in pod["spec"]["containers"] if container["name"] == "triomesh-proxy")
    for key in ("startupProbe", "readinessProbe", "ports", "resources"):
        del proxy[key]
    proxy.update(
        name="envoy",
        image="envoyproxy/envoy:v1",
        args=["-c", "/etc/envoy/envoy.json", "--service-cluster", "envoy.default", "--use-dynamic-base-id", "--concurrency", "1", "--disable-hot-restart"]
        + ["--service-node", "sidecar~$(INSTANCE_IP)~envoy.default~default.svc.cluster.local"],
        env=[item for item in proxy["env"] if item["name"] == "INSTANCE_IP"],
        volumeMounts=[{"name": "bootstrap", "mountPath": "/etc/envoy"}],
    )
    pod["spec"]["volumes"] = [{"name": "bootstrap", "configMap": {"name": "envoy"}}]
    return pod


def bootstrap() -> dict[str, Any]:
    """Delta ADS from our control plane, everything else from there."""
    http2 = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
    endpoint = {"endpoint": {"address": {"socket_address": {"address": CONTROL, "port_value": 15010}}}}
    cluster = {
        "name": "xds",
        "type": "STRICT_DNS",
        "connect_timeout": "5s",
        "typed_extension_protocol_options": {http2: {"@type": f"type.googleapis.com/{http2}", "explicit_http_config": {"http2_protocol_options": {}}}},
        "load_assignment": {"cluster_name": "xds", "endpoints": [{"lb_endpoints": [endpoint]}]},
    }
    ads = {"api_type": "DELTA_GRPC", "transport_api_version": "V3", "grpc_services": [{"envoy_grpc": {"cluster_name": "xds"}}]}
    source = {"ads": {}, "resource_api_version": "V3"}
    return {
        "node": {"metadata": {"NAMESPACE": NAMESPACE, "LABELS": {"app": "envoy"}, "GENERATOR": "envoy"}},
        "admin": {"address": {"socket_address": {"address": "127.0.0.1", "port_value": 15000}}},
        "dynamic_resources": {"ads_config": ads, "cds_config": source, "lds_config": source},
        "static_resources": {"clusters": [cluster]},
    }


@pytest.fixture
def envoy(bookinfo: Mesh) -> Iterator[Mesh]:
    """Bookinfo, and a pod `envoy` with a program and a real Envoy as its sidecar."""
    mesh = bookinfo
    if ENVOY is None:
        pytest.skip(NO_ENVOY)
    images = {"images": [{"image": "envoyproxy/envoy", "command": [os.path.realpath(ENVOY.parent) + "/envoy"], "user": 1337}]}
    mesh.layout.images_file.write_text(yaml.safe_dump(images))
    config = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "envoy"}, "data": {"envoy.json": json.dumps(bootstrap())}}
    mesh.cluster.apply(yaml.safe_dump_all([config, envoy_pod()]), NAMESPACE)
    mesh.kubectl("wait", "pod/envoy", "--for=condition=Ready", "--timeout=30s", namespace=NAMESPACE)
    until(lambda: "LIVE" in _admin(mesh, "/ready"), "Envoy is ready")
    yield mesh
    mesh.kubectl("delete", "pod/envoy", "configmap/envoy", "--wait=true", namespace=NAMESPACE)
    mesh.layout.images_file.unlink()


def _admin(mesh: Mesh, path: str) -> str:
    return mesh.cluster.run("exec", "envoy", "-c", "app", "--", "curl", "-sS", f"http://127.0.0.1:15000{path}", namespace=NAMESPACE, check=False).stdout


def test_a_real_envoy_takes_everything_and_splits_as_ours_does(envoy: Mesh) -> None:
    mesh = envoy
    mesh.apply_file("networking/virtual-service-reviews-90-10.yaml")
    mesh.await_weights("reviews", [90, 10])
    until(lambda: '"weight": 90' in _admin(mesh, "/config_dump?resource=dynamic_route_configs"), "Envoy has the weighted route")
    found = mesh.peer("envoy", "split", "http://reviews:9080/reviews/0", CALLS, container="app")
    print(found)
    assert found["statuses"] == {"200": CALLS}
    assert set(found["versions"]) == {"v1", "v2"}
    assert abs(100 * found["versions"]["v1"] / CALLS - 90) <= 3

    stats = dict(line.rsplit(": ", 1) for line in _admin(mesh, "/stats?filter=update_(rejected|success)").splitlines())
    assert {name: value for name, value in stats.items() if name.endswith("update_rejected") and value != "0"} == {}
    for kind in ("cluster_manager.cds", "listener_manager.lds", r"http.outbound_0.0.0.0_9080", "cluster.outbound|9080|v1|reviews"):
        mine = {name: int(value) for name, value in stats.items() if name.startswith(kind) and name.endswith("update_success")}
        assert mine and all(mine.values()), (kind, sorted(stats)[:40])
    rows = {row["proxy"]: row for row in mesh.meshctl_json("proxy-status")}
    assert all(rows["envoy.default"][kind].startswith("SYNCED") for kind in ("cds", "lds", "eds", "rds")), rows["envoy.default"]
    # What Envoy says and what our own proxy says of the same split is the same story, under the same object's name.
    assert "VirtualService" in _admin(mesh, "/config_dump?resource=dynamic_route_configs")


GRPC = """
apiVersion: v1
kind: Service
metadata: {name: reviews}
spec:
  selector: {app: reviews}
  ports: [{name: grpc, port: 9080}]
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: reviews}
spec:
  host: reviews
  subsets: [{name: v1, labels: {version: v1}}, {name: v2, labels: {version: v2}}]
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: reviews}
spec:
  hosts: [reviews]
  http:
  - route:
    - {destination: {host: reviews, subset: v1}, weight: 80}
    - {destination: {host: reviews, subset: v2}, weight: 20}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: xds}
data:
  bootstrap.json: '%s'
---
apiVersion: v1
kind: Pod
metadata: {name: client}
spec:
  terminationGracePeriodSeconds: 0
  volumes: [{name: xds, configMap: {name: xds}}]
  containers:
  - name: app
    image: python:3.11
    command: [sleep, infinity]
    env: [{name: GRPC_XDS_BOOTSTRAP, value: /etc/xds/bootstrap.json}, {name: GRPC_ENABLE_FORK_SUPPORT, value: "0"}]
    volumeMounts: [{name: xds, mountPath: /etc/xds}]
---
"""
GRPC_SERVER = """
apiVersion: v1
kind: Pod
metadata: {name: %(name)s, labels: {app: reviews, version: %(version)s}}
spec:
  terminationGracePeriodSeconds: 0
  containers:
  - name: app
    image: python:3.11
    command: [python, %(peers)s, grpc-serve, %(name)s, "9080"]
    readinessProbe: {tcpSocket: {port: 9080}, periodSeconds: 1}
---
"""


def test_a_proxyless_grpc_client_resolves_and_balances(mesh: Mesh) -> None:
    """`grpc.insecure_channel("xds:///…")` in a pod without a sidecar obeys the same VirtualService."""
    with mesh.cluster.namespace() as namespace:
        node = {"id": f"sidecar~198.18.0.0~client.{namespace}~{namespace}.svc.cluster.local", "metadata": {"GENERATOR": "grpc", "NAMESPACE": namespace}}
        server = {"server_uri": f"{CONTROL}:15010", "channel_creds": [{"type": "insecure"}], "server_features": ["xds_v3"]}
        pods = [{"name": name, "version": name[:2], "peers": PEERS} for name in ("v1-a", "v1-b", "v2-a")]
        mesh.cluster.apply(GRPC % json.dumps({"xds_servers": [server], "node": node}) + "".join(GRPC_SERVER % pod for pod in pods), namespace)
        mesh.kubectl("wait", "pod", "--all", "--for=condition=Ready", "--timeout=40s", namespace=namespace)
        found = mesh.peer("client", "grpc-call", f"xds:///reviews.{namespace}.svc.cluster.local:9080", CALLS, namespace=namespace)
        print(found)
        assert set(found) == {"v1-a", "v1-b", "v2-a"}
        assert abs(100 * found["v2-a"] / CALLS - 20) <= 4
        assert abs(found["v1-a"] - found["v1-b"]) <= CALLS / 10
