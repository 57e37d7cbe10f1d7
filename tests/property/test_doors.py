"""Whatever PeerAuthentications there are: the proxy's own choice of a chain lets in what the mode says, and nothing else."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from mesh.control.kube.parse_peer_authentication import PeerMode
from mesh.control.translate.project import project
from mesh.model.addr import Address
from mesh.model.listener import FilterChain
from mesh.proxy.chains import ChainTable, Inspected
from tests.support.world import SYSTEM, Cluster, sidecar_node

SERVICE = """
apiVersion: v1
kind: Service
metadata: {name: web}
spec: {selector: {app: web}, ports: [{name: http, port: 80}, {name: tcp, port: 81}, {name: x, port: 82}, {name: https, port: 83}]}
"""
SERVED, UNSERVED = (80, 81, 82, 83), (84, 85)
MODES = ("UNSET", "DISABLE", "PERMISSIVE", "STRICT")
CLIENT = Address("198.18.0.9", 40000)

PLAIN = (Inspected(), Inspected(protocols=("http/1.1", "http/1.0")), Inspected(protocols=("h2c",)))
MESH = (
    Inspected("tls", "outbound_.80_._.web", ("istio-http/1.1", "istio")),
    Inspected("tls", "outbound_.80_._.web", ("istio",)),
    Inspected("tls", "outbound_.80_._.web", ("istio-peer-exchange", "istio")),
    Inspected("tls", "", ("istio-h2", "istio", "h2")),
)
FOREIGN = (Inspected("tls"), Inspected("tls", "web.example", ("h2", "http/1.1")))


def policies(mesh: str, workload: str, ports: dict[int, str]) -> str:
    head = "apiVersion: security.istio.io/v1\nkind: PeerAuthentication\n"
    levels = "".join(f"{port}: {{mode: {mode}}}, " for port, mode in ports.items())
    return (
        f"{head}metadata: {{name: mesh, namespace: {SYSTEM}}}\nspec: {{mtls: {{mode: {mesh}}}}}\n---\n"
        f"{head}metadata: {{name: web}}\nspec: {{selector: {{matchLabels: {{app: web}}}}, mtls: {{mode: {workload}}}, portLevelMtls: {{{levels}}}}}"
    )


@settings(max_examples=80, deadline=None)
@given(
    st.sampled_from(MODES),
    st.sampled_from(MODES),
    st.dictionaries(st.sampled_from((*SERVED, 84)), st.sampled_from(MODES), max_size=3),
    st.booleans(),
)
def test_a_chain_lets_in_what_the_mode_says(mesh: str, workload: str, ports: dict[int, str], has_identity: bool) -> None:
    cluster = Cluster(has_identity)
    cluster.apply(SERVICE)
    cluster.apply(policies(mesh, workload, ports))
    graph = cluster.graph()
    node = replace(sidecar_node("web"), has_identity=has_identity)
    table = ChainTable(project(graph, node).listeners["virtualInbound"])
    demand = graph.authentication.of("default", {"app": "web"})
    for port in (*SERVED, *UNSERVED):

        def chosen(said: Inspected, port: int = port) -> FilterChain | None:
            return table.choose(table.candidates(Address("198.18.0.200", port)), said, CLIENT)

        mode = demand.at(port)
        plain, mine, foreign = ([chosen(said) for said in kinds] for kinds in (PLAIN, MESH, FOREIGN))
        if mode is PeerMode.STRICT and not has_identity:
            assert all(chain is not None and chain.filter.stat_prefix == "BlackHoleCluster" for chain in plain + mine + foreign)
            continue
        if mode is PeerMode.STRICT:
            assert plain == [None] * len(PLAIN)
            assert all(is_mesh(chain) for chain in mine + foreign)
            continue
        assert all(chain is not None and chain.tls is None for chain in plain)
        assert all(chain is not None and chain.tls is None for chain in foreign)
        is_offered = mode is PeerMode.PERMISSIVE and has_identity
        assert all(chain is not None and is_mesh(chain) == is_offered for chain in mine)


def is_mesh(chain: FilterChain | None) -> bool:
    return chain is not None and chain.tls is not None and chain.tls.require_client_certificate and chain.tls.trust_name == "ROOTCA"
