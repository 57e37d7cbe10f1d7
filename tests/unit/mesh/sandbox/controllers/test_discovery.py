"""Reading what the API serves."""

from typing import Any

from mesh.sandbox.controllers.discovery import Discovery, parse_resources
from mesh.sandbox.informer import Informer
from mesh.sandbox.kubeclient import CRDS, Resource

Json = dict[str, Any]


class Client:
    """Serves a list of kinds that grows while it is being read."""

    def __init__(self) -> None:
        self.kinds = ["A"]
        self.asked: list[str] = []
        self.crds = Informer(self, CRDS)  # type: ignore[arg-type]

    async def raw(self, path: str) -> Json:
        self.asked.append(path)
        if path == "/apis":
            return {"groups": []}
        rows = [{"name": kind.lower(), "kind": kind, "namespaced": True, "verbs": ["list", "delete"]} for kind in self.kinds]
        if self.kinds == ["A"]:  # a CRD comes when the list has been written and not yet been read
            self.kinds.append("B")
            self.crds.put({"metadata": {"name": "bs", "uid": "u", "resourceVersion": "1"}})
        return {"groupVersion": "v1", "resources": rows}


async def test_what_changed_while_it_was_read_is_read_again_and_then_remembered() -> None:
    client = Client()
    discovery = Discovery(client, client.crds)  # type: ignore[arg-type]
    assert [resource.kind for resource in await discovery.resources()] == ["A", "B"]
    asked = len(client.asked)
    assert (await discovery.find("v1", "B") or CRDS).plural == "b" and await discovery.find("v1", "C") is None
    assert len(client.asked) == asked


def test_subresources_and_what_cannot_be_listed_are_left_out() -> None:
    verbs = ["list", "delete", "get"]
    answer = {
        "groupVersion": "apps/v1",
        "resources": [
            {"name": "deployments", "kind": "Deployment", "namespaced": True, "verbs": verbs},
            {"name": "deployments/status", "kind": "Deployment", "namespaced": True, "verbs": verbs},
            {"name": "reviews", "kind": "Review", "namespaced": False, "verbs": ["create"]},
        ],
    }
    assert parse_resources(answer) == [Resource("apps", "v1", "deployments", "Deployment")]
    assert parse_resources({"groupVersion": "v1", "resources": [{**answer["resources"][0], "name": "pods", "kind": "Pod"}]}) == [Resource("", "v1", "pods", "Pod")]
