"""The local copy of a kind: what callbacks see."""

from typing import Any

import pytest

from mesh.sandbox.informer import Informer
from mesh.sandbox.kubeclient import PODS

Json = dict[str, Any]


class Client:
    """Answers lists from a script; watches never begin."""

    def __init__(self, *lists: list[Json]) -> None:
        self._lists = list(lists)

    async def list(self, *_: object, **__: object) -> Json:
        return {"metadata": {"resourceVersion": "1"}, "items": self._lists.pop(0)}


def pod(name: str, version: int, uid: str = "u") -> Json:
    return {"metadata": {"namespace": "ns", "name": name, "uid": uid, "resourceVersion": str(version)}}


async def listed(*lists: list[Json]) -> tuple[Informer, list[tuple[str | None, str | None]]]:
    informer = Informer(Client(*lists), PODS)  # type: ignore[arg-type]
    seen: list[tuple[str | None, str | None]] = []

    def version(item: Json | None) -> str | None:
        return None if item is None else f"{item['metadata']['uid']}@{item['metadata']['resourceVersion']}"

    informer.subscribe(lambda old, new: seen.append((version(old), version(new))))
    for _ in lists:
        await informer._list()
    return informer, seen


async def test_a_new_list_is_delivered_as_differences() -> None:
    informer, seen = await listed([pod("a", 1), pod("b", 2, "b")], [pod("b", 3, "b"), pod("c", 4, "c")])
    assert seen == [(None, "u@1"), (None, "b@2"), ("u@1", None), ("b@2", "b@3"), (None, "c@4")]
    assert {item["metadata"]["name"] for item in informer.all("ns")} == {"b", "c"}


async def test_an_object_made_again_is_first_deleted() -> None:
    _, seen = await listed([pod("a", 1, "old")], [pod("a", 5, "new")])
    assert seen == [(None, "old@1"), ("old@1", None), (None, "new@5")]


@pytest.mark.parametrize(("version", "taken"), [(1, False), (2, False), (3, True)])
async def test_our_own_writes_are_taken_only_when_newer(version: int, taken: bool) -> None:
    informer, seen = await listed([pod("a", 2)])
    informer.put(pod("a", version))
    assert (len(seen) == 2) is taken


async def test_a_late_answer_does_not_bring_a_deleted_object_back() -> None:
    informer, _ = await listed([pod("a", 2)], [])
    informer.put(pod("a", 9))
    assert informer.get("ns", "a") is None
