"""The charts: CRDs agree with their tables, take every stock manifest whole and refuse what is mistyped; manifests hold together."""

import copy
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from mesh.control.kube import kinds
from mesh.sandbox.apiserver.schema.structural import check, fill, prune

ROOT = Path(__file__).resolve().parents[2]
CRDS = ROOT / "charts/triomesh-crds"
Json = dict[str, Any]


def documents(*paths: Path) -> list[Json]:
    return [item for path in paths for item in yaml.safe_load_all(path.read_text()) if item]


SCHEMAS = {
    (f"{crd['spec']['group']}/{version['name']}", crd["spec"]["names"]["kind"]): version["schema"]["openAPIV3Schema"]
    for crd in documents(*sorted(CRDS.glob("*.io.yaml")))
    for version in crd["spec"]["versions"]
}
SAMPLES = [
    pytest.param(item, id=f"{path.parent.name}/{path.name}:{item['kind']}/{item['metadata']['name']}")
    for path in sorted((ROOT / "samples/bookinfo").rglob("*.yaml"))
    for item in documents(path)
    if (item["apiVersion"], item["kind"]) in SCHEMAS
]


def store(item: Json) -> tuple[Json, list[str], list[str]]:
    """(the object with its defaults, fields that were pruned, errors)"""
    schema, value, unknown = SCHEMAS[item["apiVersion"], item["kind"]], copy.deepcopy(item), list[str]()
    value.pop("metadata", None)  # ObjectMeta is the API server's, not the CRD's
    prune(value, schema, "", unknown)
    fill(value, schema)
    status = value.pop("status", None)
    return value | ({"status": status} if status else {}), unknown, [cause.field for cause in check(value, schema, "")]


def test_files_agree_with_their_tables() -> None:
    done = subprocess.run([sys.executable, str(CRDS / "generate.py"), "--check"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def test_a_directory_can_be_applied_as_it_is() -> None:
    # `kubectl apply -f DIRECTORY` takes every .yaml, .yml and .json of it.
    for directory in (CRDS, *(ROOT / "charts/triomesh" / name for name in ("manifests", "sandbox", "attach"))):
        for path in directory.glob("*.[yj]*ml"):
            assert all({"apiVersion", "kind", "metadata"} <= item.keys() for item in documents(path)), path
    # Neither is a Helm chart: `helm install` must not look possible.
    assert not list((ROOT / "charts").rglob("Chart.yaml"))


def test_kinds_and_versions() -> None:
    kinds: dict[str, list[str]] = {}
    for version, kind in SCHEMAS:
        group, _, name = version.partition("/")
        kinds.setdefault(f"{kind}.{group.split('.')[0]}", []).append(name)
    istio = ["v1", "v1beta1", "v1alpha3"]
    assert kinds == {
        **{f"{kind}.networking": istio for kind in ("VirtualService", "DestinationRule", "Gateway", "ServiceEntry", "Sidecar", "WorkloadEntry")},
        **{f"{kind}.security": ["v1", "v1beta1"] for kind in ("AuthorizationPolicy", "PeerAuthentication", "RequestAuthentication")},
        "Telemetry.telemetry": ["v1", "v1alpha1"],
        **{f"{kind}.gateway": ["v1", "v1beta1"] for kind in ("GatewayClass", "Gateway", "HTTPRoute")},
        "GRPCRoute.gateway": ["v1"],
        "ReferenceGrant.gateway": ["v1beta1"],
    }


@pytest.mark.parametrize("item", SAMPLES)
def test_stock_manifest_is_taken_whole(item: Json) -> None:
    _, unknown, errors = store(item)
    assert (unknown, errors) == ([], [])


def virtual_service(rule: Json) -> Json:
    return {"apiVersion": "networking.istio.io/v1", "kind": "VirtualService", "metadata": {"name": "a"}, "spec": {"hosts": ["a"], "http": [rule]}}


def http_route(rule: Json) -> Json:
    return {"apiVersion": "gateway.networking.k8s.io/v1", "kind": "HTTPRoute", "metadata": {"name": "a"}, "spec": {"rules": [rule]}}


def destination_rule(policy: Json) -> Json:
    return {"apiVersion": "networking.istio.io/v1", "kind": "DestinationRule", "metadata": {"name": "a"}, "spec": {"host": "a", "trafficPolicy": policy}}


@pytest.mark.parametrize(
    ("item", "field"),
    [
        (virtual_service({"route": [{"destination": {"subset": "v1"}}]}), "spec.http[0].route[0].destination.host"),
        (virtual_service({"route": [{"destination": {"host": "a"}, "weight": "90"}]}), "spec.http[0].route[0].weight"),
        (virtual_service({"fault": {"abort": {"httpStatus": 500, "grpcStatus": "OK"}}}), "spec.http[0].fault.abort"),
        (virtual_service({"fault": {"delay": {"fixedDelay": "7 seconds"}}}), "spec.http[0].fault.delay.fixedDelay"),
        (virtual_service({"fault": {"abort": {"percentage": {"value": 101}}}}), "spec.http[0].fault.abort.percentage.value"),
        (virtual_service({"match": [{"uri": {"exact": "/a", "prefix": "/b"}}]}), "spec.http[0].match[0].uri"),
        (virtual_service({"redirect": {"port": 80, "derivePort": "FROM_REQUEST_PORT"}}), "spec.http[0].redirect"),
        (destination_rule({"loadBalancer": {"simple": "RANDOMLY"}}), "spec.trafficPolicy.loadBalancer.simple"),
        (destination_rule({"tls": {"mode": "simple"}}), "spec.trafficPolicy.tls.mode"),
        (destination_rule({"loadBalancer": {"simple": "RANDOM", "consistentHash": {}}}), "spec.trafficPolicy.loadBalancer"),
        (http_route({"matches": [{"path": {"type": "Prefix"}}]}), "spec.rules[0].matches[0].path.type"),
        (http_route({"matches": [{"path": {"value": "no-slash"}}]}), "spec.rules[0].matches[0].path"),
        (http_route({"matches": [{"method": "get"}]}), "spec.rules[0].matches[0].method"),
        (http_route({"filters": [{"type": "RequestRedirect"}]}), "spec.rules[0].filters[0]"),
        (http_route({"filters": [{"type": "RequestMirror", "requestRedirect": {}}]}), "spec.rules[0].filters[0]"),
        (http_route({"timeouts": {"request": "10"}}), "spec.rules[0].timeouts.request"),
        (http_route({"backendRefs": [{"name": "a", "weight": 1000001}]}), "spec.rules[0].backendRefs[0].weight"),
        ({"apiVersion": "gateway.networking.k8s.io/v1", "kind": "Gateway", "spec": {"gatewayClassName": "istio", "listeners": []}}, "spec.listeners"),
        (
            {"apiVersion": "security.istio.io/v1", "kind": "PeerAuthentication", "spec": {"mtls": {"mode": "strict"}}},
            "spec.mtls.mode",
        ),
        (
            {"apiVersion": "networking.istio.io/v1", "kind": "ServiceEntry", "spec": {"hosts": ["*"]}},
            "spec.hosts[0]",
        ),
        (
            {"apiVersion": "networking.istio.io/v1", "kind": "ServiceEntry", "spec": {"hosts": ["a.b"], "ports": [{"number": 1, "name": "x"}, {"number": 2, "name": "x"}]}},
            "spec.ports[1]",
        ),
    ],
)  # fmt: skip
def test_mistyped_field_is_refused_by_name(item: Json, field: str) -> None:
    assert any(error.startswith(field) for error in store(item)[2]), store(item)


def test_misspelt_field_is_unknown() -> None:
    assert store(virtual_service({"timeOut": "1s"}))[1] == ["spec.http[0].timeOut"]


def test_defaults_are_upstreams() -> None:
    stored, _, errors = store(http_route({"backendRefs": [{"name": "a", "port": 80}]}))
    assert errors == []
    assert stored["spec"]["rules"] == [
        {"backendRefs": [{"name": "a", "port": 80, "group": "", "kind": "Service", "weight": 1}], "matches": [{"path": {"type": "PathPrefix", "value": "/"}}]}
    ]


def test_every_account_role_and_port_that_a_manifest_names_exists() -> None:
    items = documents(*sorted((ROOT / "charts/triomesh/manifests").glob("*.yaml")), *sorted((ROOT / "charts/triomesh/sandbox").glob("*.yaml")))
    names = {(item["kind"], item["metadata"]["name"]) for item in items}
    for item in items:
        if item["kind"].endswith("Binding"):
            assert (item["roleRef"]["kind"], item["roleRef"]["name"]) in names
            assert all((subject["kind"], subject["name"]) in names for subject in item["subjects"])
        if item["kind"] == "Deployment":
            template = item["spec"]["template"]
            account = template["spec"].get("serviceAccountName")
            assert account is None or ("ServiceAccount", account) in names
            assert item["spec"]["selector"]["matchLabels"].items() <= template["metadata"]["labels"].items()
        if item["kind"] == "Service":
            (target,) = [other for other in items if other["kind"] == "Deployment" and other["metadata"]["name"] == item["metadata"]["name"]]
            declared = {port["containerPort"] for port in target["spec"]["template"]["spec"]["containers"][0]["ports"]}
            assert {port["targetPort"] for port in item["spec"]["ports"]} <= declared


def test_the_control_plane_may_do_what_it_does_with_each_kind() -> None:
    (role,) = [
        item
        for item in documents(ROOT / "charts/triomesh/manifests/20-control.yaml")
        if (item["kind"], item["metadata"]["name"]) == ("ClusterRole", "triomesh-control")
    ]
    allowed: dict[tuple[str, str], set[str]] = {}
    for rule in role["rules"]:
        for group in rule["apiGroups"]:
            for resource in rule["resources"]:
                names = rule.get("resourceNames", [])
                allowed.setdefault((group, resource), set()).update(f"{verb} {' '.join(names)}".strip() for verb in rule["verbs"])
    wanted: dict[tuple[str, str], set[str]] = {(kind.group, kind.plural): {"list", "watch"} for kind in kinds.KINDS}
    reported = [kind for kind in kinds.KINDS if kind.is_optional and kind is not kinds.REFERENCE_GRANT]
    wanted |= {(kind.group, f"{kind.plural}/status"): {"patch"} for kind in reported}
    # Every namespace gets the mesh's roots, and who calls on 15012 is asked of the API server.
    wanted["", "configmaps"] |= {"create", "update triomesh-ca-root-cert"}
    wanted["authentication.k8s.io", "tokenreviews"] = {"create"}
    assert allowed == wanted


def test_the_validator_is_asked_about_exactly_what_has_no_effect_and_can_refuse_nothing() -> None:
    (configuration,) = documents(ROOT / "charts/triomesh/manifests/36-validator.yaml")
    (webhook,) = configuration["webhooks"]
    asked = {(group, plural) for rule in webhook["rules"] for group in rule["apiGroups"] for plural in rule["resources"]}
    assert asked == {(kind.group, kind.plural) for kind in kinds.UNENFORCED}
    assert (webhook["failurePolicy"], webhook["sideEffects"]) == ("Ignore", "None")


def test_no_role_may_do_everything() -> None:
    for item in documents(*sorted((ROOT / "charts/triomesh/manifests").glob("*.yaml"))):
        for rule in item.get("rules") or []:
            assert "*" not in rule["verbs"] + rule["resources"] + rule["apiGroups"]
