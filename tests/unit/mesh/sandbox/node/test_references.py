"""What a pod refers to, and how long it is followed."""

from typing import Any

import pytest
import trio
import trio.testing

from mesh.sandbox.kubeclient import CONFIGMAPS
from mesh.sandbox.node.references import References, references_of

Json = dict[str, Any]


def pod(uid: str, *names: str, **spec: Any) -> Json:
    volumes = [{"name": name, "configMap": {"name": name}} for name in names]
    return {"metadata": {"namespace": "ns", "name": uid, "uid": uid}, "spec": {"volumes": volumes, "containers": [], **spec}}


def test_volumes_and_environments_of_all_containers_refer() -> None:
    projected = {"name": "p", "projected": {"sources": [{"configMap": {"name": "a"}}, {"secret": {"name": "b"}}, {"serviceAccountToken": {"path": "t"}}]}}
    spec = {
        "volumes": [projected, {"name": "s", "secret": {"secretName": "c", "optional": True}}, {"name": "e", "emptyDir": {}}],
        "initContainers": [{"envFrom": [{"configMapRef": {"name": "d"}}, {"secretRef": {"name": "e"}}]}],
        "containers": [{"env": [{"name": "x", "value": "1"}, {"name": "y", "valueFrom": {"configMapKeyRef": {"name": "f", "key": "k"}}}]}],
        "ephemeralContainers": [{"env": [{"name": "z", "valueFrom": {"secretKeyRef": {"name": "g", "key": "k"}}}]}],
    }
    found = references_of({"metadata": {"namespace": "ns", "name": "p", "uid": "u"}, "spec": spec})
    assert {f"{kind} {name}" for kind, _, name in found} == {"ConfigMap a", "Secret b", "Secret c", "ConfigMap d", "Secret e", "ConfigMap f", "Secret g"}
    assert {namespace for _, namespace, _ in found} == {"ns"}


class Client:
    """Lists say that everything is there; watches stay open until cancelled, and are counted."""

    def __init__(self) -> None:
        self.watching: set[str] = set()

    async def list(self, _resource: object, namespace: str, *, fieldSelector: str) -> Json:
        name = fieldSelector.removeprefix("metadata.name=")
        meta = {"namespace": namespace, "name": name, "uid": name, "resourceVersion": "1"}
        return {"metadata": {"resourceVersion": "1"}, "items": [{"metadata": meta, "data": {}}]}

    def watch(self, _resource: object, _version: str, _namespace: str, *, fieldSelector: str) -> Any:
        client, name = self, fieldSelector.removeprefix("metadata.name=")

        class Watch:
            async def __aenter__(self) -> Any:
                client.watching.add(name)
                return self._events()

            async def _events(self) -> Any:
                await trio.sleep_forever()
                yield {}

            async def __aexit__(self, *_: object) -> None:
                client.watching.discard(name)

        return Watch()


async def test_what_several_refer_to_is_followed_once_until_the_last_is_gone(nursery: trio.Nursery) -> None:
    client = Client()
    references = References(client, CONFIGMAPS, lambda old, new: None)  # type: ignore[arg-type]
    nursery.start_soon(references.run)
    references.hold(pod("one", "shared", "own"))
    references.hold(pod("two", "shared"))
    await references.synced("one")
    await references.synced("two")
    await trio.testing.wait_all_tasks_blocked()
    assert (references.get("ns", "own") or {})["metadata"]["name"] == "own"
    assert client.watching == {"shared", "own"}
    references.release("one")
    await trio.testing.wait_all_tasks_blocked()
    assert (references.get("ns", "own"), client.watching) == (None, {"shared"})
    references.release("two")
    await trio.testing.wait_all_tasks_blocked()
    assert client.watching == set()


async def test_a_pod_that_refers_to_more_later_holds_that_too(nursery: trio.Nursery) -> None:
    client = Client()
    references = References(client, CONFIGMAPS, lambda old, new: None)  # type: ignore[arg-type]
    nursery.start_soon(references.run)
    references.hold(pod("one"))
    references.hold(pod("one", "late"))
    await references.synced("one")
    assert references.get("ns", "late") is not None


@pytest.mark.parametrize("uid", ["one", "never seen"])
async def test_a_release_without_a_hold_is_nothing(uid: str) -> None:
    references = References(Client(), CONFIGMAPS, lambda old, new: None)  # type: ignore[arg-type]
    references.release(uid)
    await references.synced(uid)
