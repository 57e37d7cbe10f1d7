"""A toy API server for controller plans: applies actions to plain dicts, so that plans can be run until nothing changes."""

import copy
from collections.abc import Callable
from typing import Any

from mesh.sandbox.controllers.plan import Action, Create, Delete, Note, Patch, Plan
from mesh.sandbox.kubeclient import Resource

Json = dict[str, Any]
EPOCH = "2026-01-01T00:00:00Z"


class World:
    """Objects by kind and name, all in namespace `ns`. Deletes are immediate."""

    def __init__(self) -> None:
        self.objects: dict[tuple[str, str], Json] = {}
        self.notes: list[Note] = []
        self._count = 0

    def add(self, body: Json) -> Json:
        body = copy.deepcopy(body)
        self._count += 1
        meta = body["metadata"]
        if "generateName" in meta:
            meta["name"] = f"{meta.pop('generateName')}{self._count}"
        meta |= {"uid": f"uid-{self._count}", "namespace": "ns", "creationTimestamp": EPOCH}
        meta.setdefault("generation", 1)
        self.objects[body["kind"], meta["name"]] = body
        return body

    def all(self, resource: Resource) -> list[Json]:
        return [item for (kind, _), item in sorted(self.objects.items()) if kind == resource.kind]

    def get(self, resource: Resource, name: str) -> Json:
        return self.objects[resource.kind, name]

    def execute(self, plan: Plan) -> bool:
        """Do the actions; whether there was any but Notes."""
        for action in plan.actions:
            self._do(action)
        return any(not isinstance(action, Note) for action in plan.actions)

    def _do(self, action: Action) -> None:
        match action:
            case Create(_, body, ignore_existing):
                if (body["kind"], body["metadata"].get("name")) in self.objects:
                    assert ignore_existing, f"{body['metadata']['name']} exists"
                    return
                self.add(body)
            case Delete(resource, obj, _):
                self.objects.pop((resource.kind, obj["metadata"]["name"]), None)
            case Patch(resource, obj, body, _):
                merge(self.objects[resource.kind, obj["metadata"]["name"]], body)
            case Note():
                self.notes.append(action)


def merge(target: Json, patch: Json) -> None:
    """JSON merge patch (RFC 7396), in place."""
    for key, value in patch.items():
        if value is None:
            target.pop(key, None)
        elif isinstance(value, dict):
            merge(target.setdefault(key, {}), value)
        else:
            target[key] = copy.deepcopy(value)


def settle(step: Callable[[], bool], limit: int = 200) -> int:
    """Call `step` until it changes nothing; returns how often it did."""
    for count in range(limit):
        if not step():
            return count
    raise AssertionError(f"still changing after {limit} steps")


def make_ready(pod: Json, *, ready: bool = True, ip: str = "198.18.1.9") -> None:
    """Give a pod the status of a running one."""
    pod["spec"]["nodeName"] = "node"
    pod["status"] = {"phase": "Running", "podIP": ip, "conditions": [{"type": "Ready", "status": "True" if ready else "False", "lastTransitionTime": EPOCH}]}


def template(version: str = "1", **labels: str) -> Json:
    return {"metadata": {"labels": {"app": "web", **labels}}, "spec": {"containers": [{"name": "c", "image": f"image:{version}"}]}}
