"""Pods to inject: small builders and hypothesis strategies."""

from typing import Any

from hypothesis import strategies as st

Json = dict[str, Any]


def pod(*containers: Json, labels: dict[str, str] | None = None, annotations: dict[str, str] | None = None, **spec: Any) -> Json:
    """A pod as a ReplicaSet of Deployment reviews-v1 would make it."""
    meta: Json = {
        "generateName": "reviews-v1-5d8-",
        "labels": {"app": "reviews", "version": "v1", "pod-template-hash": "5d8", **(labels or {})},
        "ownerReferences": [{"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "reviews-v1-5d8", "uid": "u", "controller": True}],
    }
    if annotations:
        meta["annotations"] = annotations
    return {"apiVersion": "v1", "kind": "Pod", "metadata": meta, "spec": {"containers": list(containers) or [app()], **spec}}


def app(name: str = "reviews", **fields: Any) -> Json:
    return {"name": name, "image": "app", "ports": [{"containerPort": 9080, "name": "web"}], **fields}


def env_of(container: Json) -> dict[str, str]:
    """Literal environment variables of a container."""
    return {item["name"]: item["value"] for item in container["env"] if "value" in item}


def named(items: list[Json], name: str) -> Json:
    (found,) = [item for item in items if item["name"] == name]
    return found


_NAMES = st.text("abcxyz", min_size=1, max_size=6)
_PORTS = st.integers(1, 65535)
_HANDLERS = st.one_of(
    st.builds(lambda port, path: {"httpGet": {"path": f"/{path}", "port": port}}, _PORTS, _NAMES),
    st.builds(lambda path: {"httpGet": {"path": f"/${path}", "port": "web", "scheme": "HTTPS"}}, _NAMES),
    st.builds(lambda port: {"tcpSocket": {"port": port}}, _PORTS),
    st.builds(lambda port: {"grpc": {"port": port, "service": "s"}}, _PORTS),
    st.just({"exec": {"command": ["true"]}}),
    st.just({"httpGet": {"path": "/x", "port": 1, "host": "198.18.9.9"}}),
)
_PROBES = st.builds(lambda handler, seconds: {**handler, "periodSeconds": seconds}, _HANDLERS, st.integers(1, 60))
_RESOURCES = st.sampled_from(
    [
        {},
        {"requests": {"cpu": "1"}},
        {"limits": {"cpu": "1", "memory": "1Gi"}},
        {"limits": {"cpu": "1", "memory": "1Gi"}, "requests": {"cpu": "1", "memory": "1Gi"}},
    ]
)


@st.composite
def _containers(draw: st.DrawFn, name: str) -> Json:
    container = app(name, resources=draw(_RESOURCES))
    for field in draw(st.sets(st.sampled_from(["readinessProbe", "livenessProbe", "startupProbe"]))):
        container[field] = draw(_PROBES)
    if draw(st.booleans()):
        container["lifecycle"] = {"preStop": draw(_HANDLERS)}
    return container


ANNOTATIONS = {
    "prometheus.io/scrape": ["true", "false"],
    "prometheus.io/port": ["9080", "15020"],
    "prometheus.io/path": ["/m$x"],
    "sidecar.triomesh.io/nativeSidecar": ["true", "false"],
    "sidecar.istio.io/nativeSidecar": ["true", "false"],
    "sidecar.istio.io/interceptionMode": ["NONE", "REDIRECT"],
    "sidecar.istio.io/proxyCPU": ["10m"],
    "sidecar.triomesh.io/logLevel": ["debug"],
    "sidecar.istio.io/rewriteAppHTTPProbers": ["true", "false"],
    "sidecar.istio.io/userVolume": ['{"extra": {"emptyDir": {}}}'],
    "traffic.sidecar.istio.io/includeInboundPorts": ["", "80", "*"],
    "traffic.sidecar.istio.io/excludeOutboundPorts": ["22,23", ""],
    "traffic.sidecar.triomesh.io/includeOutboundIPRanges": ["10.0.0.0/8,fd00::/8", "*", ""],
    "proxy.istio.io/config": ["holdApplicationUntilProxyStarts: true", "{}", "controlPlaneAuthPolicy: MUTUAL_TLS"],
    "inject.istio.io/templates": ["gateway", "sidecar"],
    "kubectl.kubernetes.io/default-container": ["a"],
    "plain": ["$(HOME) $$ ü"],
}


@st.composite
def pods(draw: st.DrawFn) -> Json:
    """Any pod that can be injected, with and without everything that injection touches."""
    names = draw(st.lists(_NAMES, unique=True, min_size=1, max_size=3))
    containers = [draw(_containers(name)) for name in names]
    if draw(st.booleans()):
        partial = {"name": draw(st.sampled_from(["istio-proxy", "triomesh-proxy"])), "image": "auto", "env": [{"name": "POD_NAME", "value": "x"}]}
        containers.insert(draw(st.integers(0, len(containers))), partial)
    annotations = {key: draw(st.sampled_from(values)) for key, values in ANNOTATIONS.items() if draw(st.integers(0, 3)) == 0}
    result = pod(*containers, annotations=annotations)
    if draw(st.booleans()):
        native = {**draw(_containers("init-b")), "restartPolicy": "Always"}
        result["spec"]["initContainers"] = [{"name": "init-a", "image": "i"}, native]
    if draw(st.booleans()):
        result["spec"]["volumes"] = [{"name": "v", "emptyDir": {}}]
    if draw(st.booleans()):
        result["spec"]["securityContext"] = draw(st.sampled_from([{}, {"runAsUser": 1}, {"sysctls": [{"name": "a", "value": "b"}]}]))
    if draw(st.booleans()):
        del result["metadata"]["labels"]
    return result
