"""What a cluster has for the sandbox's node beside it: the Service kube-dns, whose one endpoint is the node agent."""

from mesh.sandbox.kubeclient import ENDPOINT_SLICES, SERVICES, Json, Resource
from mesh.sandbox.network import DNS_IP, NODE_IP

MANAGER = "triomesh-node"
"""Value of endpointslice.kubernetes.io/managed-by: by it `down` finds what was put beside somebody else's objects."""


def dns_objects() -> list[tuple[Resource, Json]]:
    """Service and EndpointSlice, in the order in which they are to be made."""
    labels = {"k8s-app": "kube-dns", "kubernetes.io/name": "CoreDNS"}
    ports = [
        {"name": "dns", "port": 53, "protocol": "UDP"},
        {"name": "dns-tcp", "port": 53, "protocol": "TCP"},
    ]
    service: Json = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "kube-dns", "namespace": "kube-system", "labels": labels},
        "spec": {"clusterIP": DNS_IP, "ports": [{**port, "targetPort": 53} for port in ports]},
    }
    endpoints: Json = {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {
            "name": "kube-dns",
            "namespace": "kube-system",
            "labels": {"kubernetes.io/service-name": "kube-dns", "endpointslice.kubernetes.io/managed-by": MANAGER},
        },
        "addressType": "IPv4",
        "ports": ports,
        "endpoints": [{"addresses": [NODE_IP], "conditions": {"ready": True, "serving": True, "terminating": False}}],
    }
    return [(SERVICES, service), (ENDPOINT_SLICES, endpoints)]
