"""Which pods carry a proxy, and how one is named."""

import socket

import pytest

from mesh.cli.failure import CommandError
from mesh.cli.proxies import _relay, find, proxies, workload


def pod(name, namespace="default", proxy=True, phase="Running", owner="reviews-v1", native=False):
    containers = [{"name": "app"}] + ([{"name": "triomesh-proxy"}] if proxy and not native else [])
    return {
        "metadata": {
            "name": name,
            "namespace": namespace,
            "labels": {"pod-template-hash": "abc"},
            "ownerReferences": [{"kind": "ReplicaSet", "name": f"{owner}-abc", "controller": True}],
        },
        "spec": {"containers": containers, "initContainers": [{"name": "triomesh-proxy"}] if native else []},
        "status": {"phase": phase, "podIP": "198.18.0.9", "conditions": [{"type": "Ready", "status": "True"}]},
    }


class Pods:
    """The one call that these functions make."""

    def __init__(self, *pods):
        self.pods = pods

    def list(self, _version, _kind, namespace=""):
        return [pod for pod in self.pods if namespace in ("", pod["metadata"]["namespace"])]


def test_pods_without_a_running_proxy_are_left_out():
    kube = Pods(pod("a"), pod("b", proxy=False), pod("c", phase="Pending"), pod("d", native=True))
    assert [proxy.name for proxy in proxies(kube)] == ["a", "d"]


def test_the_workload_is_the_deployment_behind_the_replica_set():
    assert workload(pod("reviews-v1-abc-xyz")) == "reviews-v1"


@pytest.mark.parametrize("target", ["b", "b.other", "pod/b", "deploy/ratings"])
def test_a_proxy_may_be_named_in_several_ways(target):
    kube = Pods(pod("a"), pod("b", "other", owner="ratings"))
    namespace = "default" if target == "b.other" else "other"
    assert str(find(kube, target, namespace)) == "b.other"


def test_what_is_not_found_is_named():
    with pytest.raises(CommandError, match="matches deploy/nothing in namespace default"):
        find(Pods(pod("a")), "deploy/nothing", "default")


def test_other_kinds_are_refused():
    with pytest.raises(CommandError, match="name a pod or deploy/NAME"):
        find(Pods(), "svc/reviews", "default")


def test_a_forwarded_connection_is_closed_on_both_ends():
    client, local = socket.socketpair()
    remote, server = socket.socketpair()
    client.sendall(b"question")
    client.shutdown(socket.SHUT_WR)
    server.sendall(b"answer")
    server.shutdown(socket.SHUT_WR)
    _relay(local, remote)
    assert (client.recv(64), client.recv(64), server.recv(64), server.recv(64)) == (b"answer", b"", b"question", b"")
    assert (local.fileno(), remote.fileno()) == (-1, -1)
    client.close()
    server.close()
