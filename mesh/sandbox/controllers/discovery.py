"""Every kind that the API server serves, custom ones included; read again when a CRD changes."""

from mesh.sandbox.informer import Informer
from mesh.sandbox.kubeclient import Json, KubeClient, Resource


class Discovery:
    """Concurrency: any number of tasks."""

    def __init__(self, client: KubeClient, crds: Informer) -> None:
        self._client = client
        self._known: list[Resource] | None = None
        self._changes = 0
        crds.subscribe(self._on_crd)

    async def resources(self) -> list[Resource]:
        """All kinds that can be listed and deleted, each once, in its preferred version.

        Raises: ApiError, Unreachable.
        """
        while self._known is None:
            changes = self._changes
            found = parse_resources(await self._client.raw("/api/v1"))
            for group in (await self._client.raw("/apis"))["groups"]:
                found += parse_resources(await self._client.raw(f"/apis/{group['preferredVersion']['groupVersion']}"))
            if changes == self._changes:  # what was read while a CRD came or went may be half of the truth
                self._known = found
        return self._known

    async def find(self, api_version: str, kind: str) -> Resource | None:
        """The resource of a kind in any version of its group, or None."""
        group = api_version.partition("/")[0] if "/" in api_version else ""
        return next((r for r in await self.resources() if (r.group, r.kind) == (group, kind)), None)

    def _on_crd(self, _old: Json | None, _new: Json | None) -> None:
        self._known = None
        self._changes += 1


def parse_resources(answer: Json) -> list[Resource]:
    """The resources of one APIResourceList. Pure."""
    group, _, version = answer["groupVersion"].rpartition("/")
    return [
        Resource(group, version, item["name"], item["kind"], item["namespaced"])
        for item in answer["resources"]
        if "/" not in item["name"] and {"list", "delete"} <= set(item["verbs"])
    ]
