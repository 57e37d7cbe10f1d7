from pathlib import Path

import pytest
import yaml

from injector.inject import BadDocument, inject_documents, inject_report
from injector.settings import Settings

ROOT = Path(__file__).resolve().parents[3]
GOLDEN = ROOT / "tests/golden/inject"
SERVICE = "# a service\nkind: Service   # odd   spacing\nmetadata: {name: a}\n"
DEPLOYMENT = "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: a}\nspec: {template: {spec: {containers: [{name: a}]}}}\n"


@pytest.mark.parametrize("name", ["bookinfo.yaml", "bookinfo-mysql.yaml"])
def test_bookinfo_is_injected_as_the_golden_file_says(name: str) -> None:
    injected = inject_documents((ROOT / "samples/bookinfo/platform/kube" / name).read_text(), Settings())
    golden = GOLDEN / name
    assert injected == golden.read_text(), f"if the change is wanted: meshctl inject -f … > {golden}"


def test_injecting_the_output_changes_nothing() -> None:
    text = (GOLDEN / "bookinfo.yaml").read_text()
    assert inject_documents(text, Settings()) == text


@pytest.mark.parametrize("text", ["", "\n", SERVICE, f"---\n{SERVICE}---\n{SERVICE}", f"{SERVICE}---\n# nothing\n", "---\n---\n", "kind: Service\r\n---\r\nkind: Secret\r\n", "text: |\n  a\n   ---\n"])
def test_what_has_no_workload_passes_byte_for_byte(text: str) -> None:
    assert inject_documents(text, Settings()) == text


def test_only_changed_documents_are_written_anew() -> None:
    done = inject_documents(f"{SERVICE}---\n{DEPLOYMENT}---\n{SERVICE}", Settings())
    assert done.startswith(f"{SERVICE}---\napiVersion: apps/v1\n")
    assert done.endswith(f"---\n{SERVICE}")
    assert [doc["kind"] for doc in yaml.safe_load_all(done)] == ["Service", "Deployment", "Service"]


@pytest.mark.parametrize(
    ("kind", "path"),
    [(kind, "spec.template") for kind in ("Deployment", "ReplicaSet", "DaemonSet", "StatefulSet", "Job", "ReplicationController", "DeploymentConfig")]
    + [("CronJob", "spec.jobTemplate.spec.template"), ("Pod", "")],
)
def test_every_kind_of_workload(kind: str, path: str) -> None:
    item: dict[str, object] = {"spec": {"containers": [{"name": "a"}]}}
    for key in reversed(path.split(".") if path else []):
        item = {key: item}
    done = yaml.safe_load(inject_documents(yaml.safe_dump({"kind": kind, "metadata": {"name": "w"}, **item}), Settings()))
    for key in path.split(".") if path else []:
        done = done[key]
    assert [container["name"] for container in done["spec"]["containers"]] == ["a", "triomesh-proxy"]


def test_items_of_a_list_are_injected() -> None:
    text = yaml.safe_dump({"kind": "List", "items": [yaml.safe_load(SERVICE), yaml.safe_load(DEPLOYMENT)]})
    done, outcomes = inject_report(text, Settings())
    assert len(yaml.safe_load(done)["items"][1]["spec"]["template"]["spec"]["containers"]) == 2
    assert [outcome.reference for outcome in outcomes] == ["Deployment default/a"]


def test_workload_is_known_by_the_object_not_by_owner_references() -> None:
    done = inject_documents(DEPLOYMENT, Settings())
    assert 'WORKLOAD_NAME":"a"' in done
    assert "deployments/a" in done


def test_opted_out_pod_is_reported_and_unchanged() -> None:
    text = "kind: Pod\nmetadata: {name: a, labels: {sidecar.istio.io/inject: 'false'}}\nspec: {containers: [{name: a}]}\n"
    done, outcomes = inject_report(text, Settings())
    assert done == text
    assert (outcomes[0].injected, outcomes[0].sentence) == (False, "the pod says sidecar.istio.io/inject='false'")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: [", "document 1: is not YAML"),
        (f"---\n{SERVICE}---\nkind: Deployment\nmetadata: {{name: a}}\n", "document 2: Deployment default/a: spec: is missing"),
        ("kind: Pod\nmetadata: {name: a}\nspec: {containers: 7}\n", "document 1: Pod default/a: spec.containers: must be a list"),
        ("kind: Pod\nmetadata: {name: a, annotations: {traffic.sidecar.istio.io/excludeInboundPorts: x}}\nspec: {}\n", "excludeInboundPorts='x'"),
        ("kind: Pod\nmetadata: 7\n", "document 1: Pod: metadata: must be a mapping"),
        ("---\nkind: Service\n---\nhello\n", "document 2: must be a mapping (an object of Kubernetes), not 'hello'"),
        ("[" + "a, " * 100 + "]\n", "document 1: must be a mapping"),
        ("kind: List\nitems: [7]\n", "document 1 items[0]: must be a mapping"),
    ],
)
def test_bad_document_is_named(text: str, message: str) -> None:
    with pytest.raises(BadDocument) as caught:
        inject_documents(text, Settings())
    assert message in str(caught.value)
