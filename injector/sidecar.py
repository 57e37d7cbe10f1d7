"""Sidecar: the containers that are added to a pod, as plain Kubernetes JSON.

Environment, ports and arguments are the contract with the proxy (ARCHITECTURE.md, "Proxy container").
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from injector import keys, pod
from injector.pod import Json
from injector.request import Request, Template
from injector.settings import Settings

UID = 1337
# Where the proxy keeps its last good configuration and its key: it outlives the container, so that a proxy restarted while
# the control plane is away carries on. In memory, because a private key is no matter for the node's disk; the size is that of
# the configuration of some ten thousand services, and counts as memory of the container.
STATE_VOLUME: Json = {"name": "triomesh-state", "emptyDir": {"medium": "Memory", "sizeLimit": "64Mi"}}
_STATE_DIR = "/var/lib/triomesh"
# The proxy's user may read the token: the kubelet writes it 0644 when the containers of a pod run as different users, and
# 0640 for the pod's fsGroup, in which every container is. Source: kubelet, pkg/volume/projected, FsUser and FsGroup.
TOKEN_VOLUME: Json = {
    "name": "triomesh-token",
    "projected": {"sources": [{"serviceAccountToken": {"audience": "triomesh-ca", "expirationSeconds": 43200, "path": "triomesh-token"}}]},
}
ROOTS_VOLUME: Json = {"name": "triomesh-ca-root", "configMap": {"name": "triomesh-ca-root-cert"}}
_TOKEN_DIR, _ROOTS_DIR = "/var/run/secrets/tokens", "/var/run/secrets/triomesh"
_READY = {"path": "/healthz/ready", "port": 15021}
# Source: the features' row "proxy readiness": ten minutes to start, then four misses of a quarter minute.
_STARTUP = {"httpGet": _READY, "periodSeconds": 1, "timeoutSeconds": 3, "failureThreshold": 600}
_READINESS = {"httpGet": _READY, "periodSeconds": 15, "timeoutSeconds": 3, "failureThreshold": 4}
_DOWNWARD = {
    "POD_NAME": "metadata.name",
    "POD_NAMESPACE": "metadata.namespace",
    "INSTANCE_IP": "status.podIP",
    "HOST_IP": "status.hostIP",
    "NODE_NAME": "spec.nodeName",
    "SERVICE_ACCOUNT": "spec.serviceAccountName",
}


@dataclass(frozen=True, slots=True)
class Identity:
    """Who the proxy speaks for: what its node metadata says."""

    namespace: str
    workload: pod.Workload
    labels: Mapping[str, str]
    annotations: Mapping[str, str]
    service_account: str
    app_containers: tuple[str, ...]


def proxy_container(request: Request, identity: Identity, probers: Json, prometheus: Json, settings: Settings) -> Json:
    """The container `triomesh-proxy` (of a sidecar, native or classic, or of a gateway).

    Args: probers: path → original prober; prometheus: the application's own scrape annotations; {} for none.
    """
    role = "router" if request.template is Template.GATEWAY else "sidecar"
    container: Json = {"name": keys.PROXY_CONTAINER, "image": request.image}
    if settings.image_pull_policy:
        container["imagePullPolicy"] = settings.image_pull_policy
    container |= {
        "args": [role],
        "env": _environment(request, identity, probers, prometheus, settings),
        "ports": [
            {"containerPort": 15090, "name": "http-envoy-prom", "protocol": "TCP"},
            {"containerPort": 15021, "name": "status-port", "protocol": "TCP"},
            {"containerPort": 15020, "name": "http-merged", "protocol": "TCP"},
        ],
        "resources": request.resources,
        "startupProbe": _STARTUP,
        "readinessProbe": _READINESS,
        "securityContext": _security(),
    }
    container["volumeMounts"] = [*_mounts(request), *request.mounts]
    if lifecycle := _lifecycle(request):
        container["lifecycle"] = lifecycle
    if request.native:
        container["restartPolicy"] = "Always"
    return container


def volumes(request: Request) -> list[Json]:
    """What the proxy's container mounts, but for the user's own."""
    return [STATE_VOLUME, TOKEN_VOLUME, ROOTS_VOLUME] if request.config.has_identity else [STATE_VOLUME]


def init_container(request: Request, settings: Settings) -> Json | None:
    """The container `triomesh-init` that installs the interception rules; None when there is nothing to intercept."""
    if request.capture is None:
        return None
    container: Json = {"name": keys.INIT_CONTAINER, "image": settings.init_image}
    if settings.image_pull_policy:
        container["imagePullPolicy"] = settings.image_pull_policy
    return container | {
        "args": request.capture.arguments(),
        "resources": request.resources,
        # Root and two capabilities, for as long as iptables-restore takes; the proxy itself has neither.
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "capabilities": {"add": ["NET_ADMIN", "NET_RAW"], "drop": ["ALL"]},
            "privileged": False,
            # The legacy backend takes a lock in /run.
            "readOnlyRootFilesystem": False,
            "runAsGroup": 0,
            "runAsNonRoot": False,
            "runAsUser": 0,
        },
    }


def _mounts(request: Request) -> list[Json]:
    mounts: list[Json] = [{"name": STATE_VOLUME["name"], "mountPath": _STATE_DIR}]
    if request.config.has_identity:
        mounts.append({"name": TOKEN_VOLUME["name"], "mountPath": _TOKEN_DIR, "readOnly": True})
        mounts.append({"name": ROOTS_VOLUME["name"], "mountPath": _ROOTS_DIR, "readOnly": True})
    return mounts


def _environment(request: Request, identity: Identity, probers: Json, prometheus: Json, settings: Settings) -> list[Json]:
    env: list[Json] = [{"name": name, "valueFrom": {"fieldRef": {"fieldPath": path}}} for name, path in _DOWNWARD.items()]
    env.append({"name": "TRIOMESH_STATE_DIR", "value": _STATE_DIR})
    if request.config.has_identity:
        env.append({"name": "TRIOMESH_CA_ROOTS", "value": f"{_ROOTS_DIR}/root-cert.pem"})
        env.append({"name": "TRIOMESH_CA_TOKEN", "value": f"{_TOKEN_DIR}/{TOKEN_VOLUME['name']}"})
    env.append({"name": "TRIOMESH_PROXY_CONFIG", "value": _literal(request.config.to_json())})
    env.append({"name": "TRIOMESH_METADATA", "value": _node_metadata(request, identity, settings)})
    if probers:
        env.append({"name": "TRIOMESH_APP_PROBERS", "value": _literal(probers)})
    if prometheus:
        env.append({"name": "TRIOMESH_PROMETHEUS_ANNOTATIONS", "value": _literal(prometheus)})
    return env


def _node_metadata(request: Request, identity: Identity, settings: Settings) -> str:
    # The pod's name is not known at admission (generateName); the kubelet fills $(POD_NAME) in.
    text = _literal(
        {
            "NAMESPACE": identity.namespace,
            "LABELS": dict(identity.labels),
            "ANNOTATIONS": dict(identity.annotations),
            "WORKLOAD_NAME": identity.workload.name,
            "OWNER": identity.workload.owner,
            "CLUSTER_ID": settings.cluster_id,
            "MESH_ID": settings.mesh_id,
            "SERVICE_ACCOUNT": identity.service_account,
            "INTERCEPTION_MODE": "REDIRECT" if request.capture else "NONE",
            "APP_CONTAINERS": ",".join(identity.app_containers),
            "PROXY_CONFIG": request.config.own_json(),
            "TRIOMESH_VERSION": settings.version,
        }
    )
    return '{"NAME":"$(POD_NAME)",' + text[1:]


def _literal(value: object) -> str:
    """Compact JSON that the kubelet leaves alone. Source: Kubernetes, "$(VAR)" expansion: "$$" stands for "$"."""
    return json.dumps(value, separators=(",", ":"), sort_keys=True).replace("$", "$$")


def literal_value(text: str) -> Any:
    """The inverse of how environment JSON is written. Raises: ValueError: not JSON."""
    return json.loads(text.replace("$$", "$"))


def _lifecycle(request: Request) -> Json:
    if request.template is Template.GATEWAY:
        return {}
    if request.native:
        # A native sidecar is told to stop last, after the application: start draining when the pod ends.
        return {"preStop": {"exec": {"command": ["python", "-m", "mesh.proxy", "request", "POST", "/drain_listeners?graceful"]}}}
    if request.config.hold_application:
        # The kubelet starts the next container only when this hook returns.
        return {"postStart": {"exec": {"command": ["python", "-m", "mesh.proxy", "wait"]}}}
    return {}


def _security() -> Json:
    return {
        "allowPrivilegeEscalation": False,
        "capabilities": {"drop": ["ALL"]},
        "privileged": False,
        "readOnlyRootFilesystem": True,
        "runAsGroup": UID,
        "runAsNonRoot": True,
        "runAsUser": UID,
    }
