"""Does a route hang on a Gateway, and if not, why."""

from __future__ import annotations

import pytest

from mesh.control.mesh_config import MeshConfig
from mesh.control.translate.attachment import Attachment, attachments, is_ours
from mesh.model.route import ForwardAction
from tests.support.world import INGRESS_GATEWAY, Cluster

GATEWAY = """
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: gw}
spec:
  gatewayClassName: %s
  listeners:
  - {name: open, port: 80, protocol: HTTP, allowedRoutes: {namespaces: {from: All}}}
  - {name: own, port: 81, protocol: HTTP}
  - {name: chosen, port: 82, protocol: HTTP, hostname: "*.example.com", allowedRoutes: {namespaces: {from: Selector, selector: {matchLabels: {team: a}}}}}
  - {name: grpc, port: 83, protocol: HTTP, allowedRoutes: {namespaces: {from: All}, kinds: [{kind: GRPCRoute}]}}
"""
NAMESPACES = """
apiVersion: v1
kind: Namespace
metadata: {name: team-a, namespace: "", labels: {team: a}}
"""


def route(
    namespace: str = "default", parent: str = "", hostnames: str = "[]", backend: str = "{name: web, port: 80}"
) -> str:
    return (
        f"apiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\nmetadata: {{name: r, namespace: {namespace}}}\n"
        f"spec: {{parentRefs: [{{name: gw, namespace: default{parent}}}], hostnames: {hostnames}, rules: [{{backendRefs: [{backend}]}}]}}"
    )


def cluster(*texts: str, class_name: str = "triomesh") -> Cluster:
    made = Cluster()
    for text in (INGRESS_GATEWAY, NAMESPACES, GATEWAY % class_name, *texts):
        made.apply(text)
    return made


def attach(*texts: str) -> Attachment:
    (found,) = attachments(cluster(*texts).world(), MeshConfig())
    return found


def listeners(found: Attachment) -> list[str]:
    return [name for name, _ in found.listeners]


def test_allowed_routes() -> None:
    assert listeners(attach(route())) == ["open", "own"]
    assert listeners(attach(route("elsewhere"))) == ["open"]
    assert listeners(attach(route("team-a"))) == ["open", "chosen"]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (route(parent=", sectionName: nope"), "NoMatchingParent"),
        (route(parent=", port: 9"), "NoMatchingParent"),
        (route("elsewhere", parent=", sectionName: own"), "NotAllowedByListeners"),
        (route(parent=", sectionName: grpc"), "NotAllowedByListeners"),
        (route("team-a", parent=", sectionName: chosen", hostnames="[a.other]"), "NoMatchingListenerHostname"),
    ],
)
def test_refusals_say_why(text: str, reason: str) -> None:
    found = attach(text)
    assert (found.listeners, found.reason) == ((), reason)
    assert found.message


def test_host_names_are_the_intersection() -> None:
    text = route("team-a", parent=", sectionName: chosen", hostnames='[a.example.com, "*.com", x.org]')
    assert attach(text).listeners == (("chosen", ("a.example.com", "*.example.com")),)
    assert attach(route("team-a", parent=", sectionName: chosen")).listeners == (("chosen", ("*.example.com",)),)


SERVICE = "apiVersion: v1\nkind: Service\nmetadata: {name: web, namespace: far}\nspec: {clusterIP: 198.19.3.3, ports: [{name: http, port: 80}]}"
GRANT = (
    "apiVersion: gateway.networking.k8s.io/v1beta1\nkind: ReferenceGrant\nmetadata: {name: g, namespace: far}\n"
    "spec: {from: [{group: gateway.networking.k8s.io, kind: HTTPRoute, namespace: default}], to: [{group: '', kind: Service, name: web}]}"
)


def backend_of(made: Cluster) -> str:
    (vhost,) = made.gateway().routes["http.8080"].virtual_hosts
    action = vhost.routes[0].action
    assert isinstance(action, ForwardAction)
    return action.clusters[0].name


def test_backends_of_other_namespaces_need_a_grant() -> None:
    text = route(backend="{name: web, namespace: far, port: 80}")
    refused = cluster(SERVICE, text)
    assert backend_of(refused) == "InvalidBackend|spec.rules[0].backendRefs[0]"
    assert "RefNotPermitted" in {problem.reason for problem in refused.graph().problems()}
    assert backend_of(cluster(SERVICE, GRANT, text)) == "outbound|80||web.far.svc.cluster.local"


def test_whose_gateway_it_is() -> None:
    klass = "apiVersion: gateway.networking.k8s.io/v1\nkind: GatewayClass\nmetadata: {name: istio, namespace: ''}\nspec: {controllerName: %s}"
    for made, expected in (
        (cluster(class_name="istio"), True),
        (cluster(class_name="nginx"), False),
        (cluster(klass % "triomesh.io/gateway-controller", class_name="istio"), True),
        (cluster(klass % "istio.io/gateway-controller", class_name="istio"), False),
    ):
        world = made.world()
        (gateway,) = world.gateways.values()
        assert is_ours(gateway, world, MeshConfig()) is expected
