"""The Node object: registered at start, kept alive by a Lease, and what it says. `node_object` is pure."""

import logging
import os
import platform
from collections.abc import Callable

import trio

from mesh.sandbox.kubeclient import LEASES, NODES, ApiError, Json, KubeClient, Unreachable
from mesh.sandbox.network import KUBELET_PORT, NODE_IP
from mesh.sandbox.times import micro_stamp, stamp

_log = logging.getLogger("node")
LEASE_SECONDS = 40
"""kubelet's nodeLeaseDurationSeconds; renewed every quarter of it."""
_RETRY_SECONDS = 1.0
KUBELET_VERSION = "v1.32.0+triomesh"


def node_object(name: str, cpus: int, memory_bytes: int, now: float, old: Json | None) -> Json:
    """The Node; conditions keep their transition times when nothing changed."""
    resources = {"cpu": str(cpus), "memory": f"{memory_bytes // 1024}Ki", "pods": "250", "ephemeral-storage": "0"}
    labels = {
        "kubernetes.io/hostname": name,
        "kubernetes.io/os": "linux",
        "kubernetes.io/arch": {"x86_64": "amd64", "aarch64": "arm64"}.get(platform.machine(), platform.machine()),
        "topology.kubernetes.io/region": "sandbox",
        "topology.kubernetes.io/zone": "sandbox-a",
    }
    before = {c["type"]: c for c in ((old or {}).get("status") or {}).get("conditions") or ()}
    wanted = [
        ("MemoryPressure", "False", "KubeletHasSufficientMemory", "kubelet has sufficient memory available"),
        ("DiskPressure", "False", "KubeletHasNoDiskPressure", "kubelet has no disk pressure"),
        ("PIDPressure", "False", "KubeletHasSufficientPID", "kubelet has sufficient PID available"),
        ("Ready", "True", "KubeletReady", "the sandbox's node is ready"),
    ]
    conditions = []
    for kind, status, reason, message in wanted:
        known = before.get(kind)
        since = known["lastTransitionTime"] if known and known["status"] == status else stamp(now)
        conditions.append(
            {"type": kind, "status": status, "reason": reason, "message": message, "lastHeartbeatTime": stamp(now), "lastTransitionTime": since}
        )
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": name, "labels": labels},
        "spec": {"podCIDR": "198.18.0.0/16", "podCIDRs": ["198.18.0.0/16"]},
        "status": {
            "addresses": [{"type": "InternalIP", "address": NODE_IP}, {"type": "Hostname", "address": name}],
            "capacity": resources,
            "allocatable": resources,
            "conditions": conditions,
            "daemonEndpoints": {"kubeletEndpoint": {"Port": KUBELET_PORT}},
            "nodeInfo": _node_info(),
        },
    }


async def register(client: KubeClient, name: str, cpus: int, memory_bytes: int, now: float) -> None:
    """Create or refresh the Node. Tries until the API server takes it."""
    while True:
        try:
            await _put_node(client, name, cpus, memory_bytes, now)
            return
        except (ApiError, Unreachable) as exc:
            _log.info("not registered yet: %s", exc)
            await trio.sleep(_RETRY_SECONDS)


async def keep_lease(client: KubeClient, name: str, clock: Callable[[], float]) -> None:
    """Renew the node's Lease until cancelled."""
    while True:
        spec: Json = {"holderIdentity": name, "leaseDurationSeconds": LEASE_SECONDS, "renewTime": micro_stamp(clock())}
        body = {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": {"name": name, "namespace": "kube-node-lease"}, "spec": spec}
        try:
            try:
                await client.patch(LEASES, "kube-node-lease", name, {"spec": spec})
            except ApiError as exc:
                if exc.code != 404:
                    raise
                await client.create(LEASES, "kube-node-lease", body)
        except (ApiError, Unreachable) as exc:
            _log.info("lease: %s", exc)
            await trio.sleep(_RETRY_SECONDS)
            continue
        await trio.sleep(LEASE_SECONDS / 4)


async def _put_node(client: KubeClient, name: str, cpus: int, memory_bytes: int, now: float) -> None:
    try:
        old = await client.get(NODES, "", name)
    except ApiError as exc:
        if exc.code != 404:
            raise
        old = await client.create(NODES, "", node_object(name, cpus, memory_bytes, now, None))
    node = node_object(name, cpus, memory_bytes, now, old)
    await client.patch(NODES, "", name, {"metadata": node["metadata"]})
    await client.patch(NODES, "", name, {"status": node["status"]}, sub="status")


def _node_info() -> Json:
    host = os.uname()
    return {
        "architecture": {"x86_64": "amd64", "aarch64": "arm64"}.get(host.machine, host.machine),
        "operatingSystem": "linux",
        "kernelVersion": host.release,
        "osImage": "Triomesh sandbox",
        "containerRuntimeVersion": "triomesh://1",
        "kubeletVersion": KUBELET_VERSION,
        "kubeProxyVersion": KUBELET_VERSION,
        "machineID": "",
        "systemUUID": "",
        "bootID": "",
    }
