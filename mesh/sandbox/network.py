"""Addresses of a sandbox and the nat rules that make ClusterIPs work. Pure: no kernel is touched here.

Everything is inside 198.18.0.0/15 (RFC 2544 benchmarking addresses), so nothing real is ever shadowed.
The rules are kube-proxy's in shape: a Service port is a chain that picks a ready endpoint at random, an endpoint is a
chain that rewrites the destination; traffic of a pod to itself is masqueraded so that the answer comes back.
"""

import ipaddress
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from hashlib import sha256

NODE_IP = "198.18.0.1"
POD_NETWORK = ipaddress.ip_network("198.18.0.0/16")
SERVICE_NETWORK = ipaddress.ip_network("198.19.0.0/16")
LOAD_BALANCER_NETWORK = ipaddress.ip_network("198.18.255.0/24")
KUBERNETES_IP = "198.19.0.1"
DNS_IP = "198.19.0.10"
KUBELET_PORT = 10250
_MASQUERADE_MARK = "0x4000/0x4000"


@dataclass(frozen=True, slots=True)
class Backend:
    """One endpoint address behind a Service port."""

    ip: str
    port: int


@dataclass(frozen=True, slots=True)
class ServicePort:
    """One port of a Service as the nat rules see it. `node_port` 0 = none; `protocol` is tcp or udp."""

    name: str
    protocol: str
    addresses: tuple[str, ...]
    port: int
    node_port: int
    backends: tuple[Backend, ...]


def pod_addresses(after: str | None, taken: frozenset[str]) -> Iterator[str]:
    """Free pod addresses, starting behind `after` and wrapping once round, so that none is soon used again."""
    first = int(POD_NETWORK.network_address)
    size = POD_NETWORK.num_addresses
    start = int(ipaddress.ip_address(after)) - first if after else 255
    for step in range(1, size):
        address = ipaddress.ip_address(first + (start + step) % size)
        if address in LOAD_BALANCER_NETWORK or int(address) - first < 256:  # 198.18.0.0/24: the node's own
            continue
        if (text := str(address)) not in taken:
            yield text


def nat_rules(ports: Iterable[ServicePort]) -> str:
    """The whole nat and filter tables of the node namespace, as one `iptables-restore` input."""
    ordered = sorted(ports, key=lambda port: port.name)
    chains = [":PREROUTING ACCEPT [0:0]", ":INPUT ACCEPT [0:0]", ":OUTPUT ACCEPT [0:0]", ":POSTROUTING ACCEPT [0:0]"]
    chains += [":TM-SERVICES - [0:0]"]
    rules = [
        "-A PREROUTING -j TM-SERVICES",
        "-A OUTPUT -j TM-SERVICES",
        f"-A POSTROUTING -m mark --mark {_MASQUERADE_MARK} -j MASQUERADE",
    ]
    rejects: list[str] = []
    for port in ordered:
        matches = list(_matches(port))
        if not port.backends:
            answer = " --reject-with tcp-reset" if port.protocol == "tcp" else ""
            rejects += [f"{match} -j REJECT{answer}" for match in matches]
            continue
        chain = _chain("SVC", port.name)
        chains.append(f":{chain} - [0:0]")
        rules += [f"-A TM-SERVICES {match} -j {chain}" for match in matches]
        for index, backend in enumerate(port.backends):
            endpoint = _chain("SEP", f"{port.name}/{backend.ip}:{backend.port}")
            chains.append(f":{endpoint} - [0:0]")
            rules.append(f"-A {chain}{_share(len(port.backends) - index)} -j {endpoint}")
            rules.append(f"-A {endpoint} -s {backend.ip}/32 -j MARK --set-xmark {_MASQUERADE_MARK}")
            rules.append(
                f"-A {endpoint} -p {port.protocol} -j DNAT --to-destination {backend.ip}:{backend.port}"
            )
    return "\n".join(["*nat", *chains, *rules, "COMMIT", *_filter_table(rejects), ""])


def _filter_table(rejects: list[str]) -> list[str]:
    # A virtual address that no rule translated has no port there: refuse at once, as a host without listener would.
    virtual = [f"-d {SERVICE_NETWORK}", f"-d {LOAD_BALANCER_NETWORK}"]
    tail = [f"{where} -p tcp -j REJECT --reject-with tcp-reset" for where in virtual] + [
        f"{where} -j REJECT" for where in virtual
    ]
    lines = ["*filter", ":INPUT ACCEPT [0:0]", ":FORWARD ACCEPT [0:0]", ":OUTPUT ACCEPT [0:0]", ":TM-REJECT - [0:0]"]
    # INPUT too: a NodePort without endpoints is an address of the node itself.
    lines += [f"-A {chain} -j TM-REJECT" for chain in ("INPUT", "FORWARD", "OUTPUT")]
    lines += [f"-A TM-REJECT {rule}" for rule in rejects + tail]
    return [*lines, "COMMIT"]


def _matches(port: ServicePort) -> Iterator[str]:
    for address in port.addresses:
        yield f"-d {address}/32 -p {port.protocol} --dport {port.port}"
    if port.node_port:
        yield f"-d {NODE_IP}/32 -p {port.protocol} --dport {port.node_port}"


def _share(remaining: int) -> str:
    if remaining == 1:
        return ""
    return f" -m statistic --mode random --probability {1 / remaining:.10f}"


def _chain(kind: str, key: str) -> str:
    # 28 characters is iptables' limit for a chain name.
    return f"TM-{kind}-{sha256(key.encode()).hexdigest()[:16].upper()}"
