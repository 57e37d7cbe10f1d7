"""Malformed objects and malformed bytes: an answer that names what is wrong, and everything else goes on."""

import re
from collections.abc import Iterator
from typing import Any

import pytest

from mesh.cli import demo
from tests.support.mesh_sandbox import NAMESPACE, PEERS, SYSTEM, Mesh, until

pytestmark = [pytest.mark.root, pytest.mark.e2e]

ISTIO, GATEWAY_API = "networking.istio.io/v1", "gateway.networking.k8s.io/v1"

# Against the schema: the API server says which field.
REFUSED = {
    "http": f"{{apiVersion: {ISTIO}, kind: VirtualService, metadata: {{name: bad}}, spec: {{hosts: [reviews], http: nonsense}}}}",
    "weight": f"{{apiVersion: {ISTIO}, kind: VirtualService, metadata: {{name: bad}}, spec: {{hosts: [reviews], http: [{{route: [{{destination: {{host: reviews}}, weight: many}}]}}]}}}}",
    "subsets": f"{{apiVersion: {ISTIO}, kind: DestinationRule, metadata: {{name: bad}}, spec: {{host: reviews, subsets: 7}}}}",
    "port": f"{{apiVersion: {GATEWAY_API}, kind: Gateway, metadata: {{name: bad}}, spec: {{gatewayClassName: istio, listeners: [{{name: http, port: 123456, protocol: HTTP}}]}}}}",
    "type": f"{{apiVersion: {GATEWAY_API}, kind: HTTPRoute, metadata: {{name: bad}}, spec: {{rules: [{{matches: [{{path: {{type: Nearly, value: /}}}}]}}]}}}}",
}

# Within the schema, but not what anybody can do: the object's own status says why.
UNUSABLE = {
    "VirtualService/bad-regex": f"{{apiVersion: {ISTIO}, kind: VirtualService, metadata: {{name: bad-regex}}, spec: {{hosts: [details], http: [{{match: [{{uri: {{regex: '('}}}}], route: [{{destination: {{host: details}}}}]}}]}}}}",
    "VirtualService/no-subset": f"{{apiVersion: {ISTIO}, kind: VirtualService, metadata: {{name: no-subset}}, spec: {{hosts: [nowhere.example], http: [{{route: [{{destination: {{host: details, subset: v99}}}}]}}]}}}}",
    "HTTPRoute/no-backend": f"{{apiVersion: {GATEWAY_API}, kind: HTTPRoute, metadata: {{name: no-backend}}, spec: {{parentRefs: [{{group: '', kind: Service, name: details}}], rules: [{{matches: [{{path: {{type: Exact, value: /nowhere}}}}], backendRefs: [{{name: nowhere, port: 80}}]}}]}}}}",
    "Gateway/bad-protocol": f"{{apiVersion: {GATEWAY_API}, kind: Gateway, metadata: {{name: bad-protocol}}, spec: {{gatewayClassName: istio, listeners: [{{name: x, port: 80, protocol: example.com/CarrierPigeon}}]}}}}",
}
RESOURCES = {
    "VirtualService": "virtualservices.networking.istio.io",
    "HTTPRoute": "httproutes.gateway.networking.k8s.io",
    "Gateway": "gateways.gateway.networking.k8s.io",
}


def _yaml(flow: str) -> str:
    """What begins with a brace kubectl takes for JSON."""
    return f"---\n{flow}\n"


@pytest.mark.parametrize("field", sorted(REFUSED))
def test_what_the_schema_forbids_is_refused_by_name(mesh: Mesh, field: str) -> None:
    done = mesh.cluster.run("apply", "--server-side", "--validate=false", "-f", "-", namespace=NAMESPACE, stdin=_yaml(REFUSED[field]), check=False)
    assert done.returncode == 1
    assert field in done.stderr and "spec." in done.stderr, done.stderr


def _complaints(status: dict[str, Any]) -> list[str]:
    """Messages of conditions that are False, wherever the kind keeps them."""
    groups = [status, *status.get("parents", []), *status.get("listeners", [])]
    return [f"{c['type']} {c['reason']}: {c['message']}" for group in groups for c in group.get("conditions", []) if c["status"] == "False"]


def test_what_cannot_be_done_is_said_on_the_object_and_hurts_nothing_else(bookinfo: Mesh) -> None:
    mesh = bookinfo
    mesh.apply_file("networking/virtual-service-all-v1.yaml")
    with mesh.load(rps=20) as load:
        for name, manifest in UNUSABLE.items():
            mesh.cluster.apply(_yaml(manifest), NAMESPACE)
            kind, _, object_name = name.partition("/")

            def complaints(resource: str = RESOURCES[kind], object_name: str = object_name) -> list[str]:
                return _complaints(mesh.cluster.get(resource, NAMESPACE, object_name).get("status") or {})

            print(name, until(complaints, f"{name} says what is wrong with it"))
        # A change made beside all of them still arrives.
        mesh.apply_file("networking/virtual-service-reviews-90-10.yaml")
        mesh.await_weights("reviews", [90, 10])
    assert load.statuses() == {200}, load.failed()
    assert mesh.meshctl_json("proxy-status"), "exit code 0: no proxy was sent anything it had to reject"


@pytest.fixture
def abuser(bookinfo: Mesh) -> Iterator[Mesh]:
    """A pod without a sidecar that talks to whatever it likes."""
    mesh = bookinfo
    spec = "terminationGracePeriodSeconds: 0, containers: [{name: app, image: 'python:3.11', command: [sleep, infinity]}]"
    pod = f"{{apiVersion: v1, kind: Pod, metadata: {{name: abuser, labels: {{sidecar.triomesh.io/inject: 'false'}}}}, spec: {{{spec}}}}}"
    mesh.cluster.apply(_yaml(pod), NAMESPACE)
    mesh.kubectl("wait", "pod/abuser", "--for=condition=Ready", "--timeout=30s", namespace=NAMESPACE)
    yield mesh
    mesh.kubectl("delete", "pod/abuser", namespace=NAMESPACE)


def _unacceptable(answers: dict[str, str]) -> dict[str, str]:
    """Answers other than a close, an HTTP answer below 500 (or 505, about the version), HTTP/2 frames or a TLS alert."""
    fine = re.compile(r"closed|HTTP/1\.[01] ([1-4]\d\d|505) |\x15\x03|\0\0")
    return {name: answer for name, answer in answers.items() if not fine.match(answer)}


def test_malformed_bytes_on_any_listener_end_clearly(abuser: Mesh) -> None:
    mesh = abuser
    before = _restarts(mesh)
    app, gateway = mesh.pod("app=reviews,version=v1")["status"]["podIP"], mesh.pod("app=triomesh-ingressgateway", SYSTEM)["status"]["podIP"]
    control, injector, collector = (mesh.pod(f"app=triomesh-{name}", SYSTEM)["status"]["podIP"] for name in ("control", "injector", "collector"))
    targets = [(gateway, 8080), (app, 9080), (app, 15006), (app, 15021), (app, 15020), (app, 15090)]
    targets += [(control, 15010), (control, 15012), (control, 15014), (injector, 15017), (collector, 16686), (collector, 4317)]
    wrong = {f"{host}:{port}": _unacceptable(mesh.peer("abuser", "abuse", host, port)) for host, port in targets}
    # From inside: captured on its way out, and the capture ports themselves.
    inside = "deploy/ratings-v1"
    for host, port in (("reviews", 9080), ("127.0.0.1", 15001), ("127.0.0.1", 15006), ("127.0.0.1", 15000)):
        wrong[f"ratings to {host}:{port}"] = _unacceptable(mesh.peer(inside, "abuse", host, port, container="ratings"))
    assert {target: answers for target, answers in wrong.items() if answers} == {}
    assert mesh.cluster.exec("abuser", ["python", PEERS, "split", f"http://{app}:9080/reviews/0", "20"], NAMESPACE).count("200") == 1
    assert mesh.client().send("GET", demo.PAGE).status == 200
    assert _restarts(mesh) == before
    tracebacks = {name: text[text.index("Traceback") :][:3000] for name, text in mesh.proxy_logs().items() if "Traceback" in text}
    assert tracebacks == {}


def _restarts(mesh: Mesh) -> dict[str, int]:
    pods = mesh.kube.list("v1", "Pod", NAMESPACE) + mesh.kube.list("v1", "Pod", SYSTEM)
    return {f"{pod['metadata']['name']}/{status['name']}": status["restartCount"] for pod in pods for status in pod["status"]["containerStatuses"]}
