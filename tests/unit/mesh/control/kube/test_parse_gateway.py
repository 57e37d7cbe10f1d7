"""GatewayClass, Gateway, ReferenceGrant."""

from __future__ import annotations

from mesh.control.kube.gateway_api import AllowedFrom, GatewayListener, ListenerTls
from mesh.control.kube.parse_gateway import gateway, gateway_class, reference_grant

META = {"name": "g", "namespace": "default"}


def test_bookinfos_gateway() -> None:
    listener = {"name": "http", "port": 80, "protocol": "HTTP", "allowedRoutes": {"namespaces": {"from": "Same"}}}
    parsed = gateway({"metadata": META, "spec": {"gatewayClassName": "istio", "listeners": [listener]}})
    assert (parsed.class_name, parsed.problems) == ("istio", ())
    assert parsed.listeners == (GatewayListener("spec.listeners[0]", "http", 80, "HTTP"),)


def test_tls_and_allowed_routes() -> None:
    listener = {
        "name": "https",
        "port": 443,
        "protocol": "HTTPS",
        "hostname": "*.Example.com",
        "tls": {"certificateRefs": [{"name": "cert"}, {"name": "c2", "namespace": "other"}]},
        "allowedRoutes": {
            "namespaces": {"from": "Selector", "selector": {"matchLabels": {"a": "b"}}},
            "kinds": [{"kind": "HTTPRoute"}],
        },
    }
    (found,) = gateway({"metadata": META, "spec": {"gatewayClassName": "x", "listeners": [listener]}}).listeners
    assert found.hostname == "*.example.com"
    assert found.tls == ListenerTls(False, (("default", "cert"), ("other", "c2")))
    assert (found.allowed_from, found.namespace_labels) == (AllowedFrom.SELECTOR, {"a": "b"})
    assert found.kinds == (("gateway.networking.k8s.io", "HTTPRoute"),)


def test_a_selector_we_cannot_evaluate_admits_nobody() -> None:
    selector = {"matchExpressions": [{"key": "a", "operator": "Exists"}]}
    allowed = {"namespaces": {"from": "Selector", "selector": selector}}
    bad = {"name": "a", "port": 80, "protocol": "HTTP", "allowedRoutes": allowed}
    good = {"name": "b", "port": 81, "protocol": "HTTP"}
    parsed = gateway({"metadata": META, "spec": {"gatewayClassName": "x", "listeners": [bad, good]}})
    assert [listener.name for listener in parsed.listeners] == ["b"]
    assert parsed.problems[0].field.endswith("selector.matchExpressions")


def test_gateway_class_and_grant() -> None:
    assert gateway_class({"metadata": {"name": "c"}, "spec": {"controllerName": "x/y"}}).controller == "x/y"
    grant = reference_grant(
        {
            "metadata": META,
            "spec": {
                "from": [{"group": "gateway.networking.k8s.io", "kind": "HTTPRoute", "namespace": "a"}],
                "to": [{"group": "", "kind": "Service"}],
            },
        }
    )
    assert grant.sources == {("gateway.networking.k8s.io", "HTTPRoute", "a")}
    assert grant.targets == {("", "Service", "")}
