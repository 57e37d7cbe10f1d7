"""Trust: one webhook configuration that is to trust our CAs, whoever resets it."""

import asyncio
import base64
import logging
from collections.abc import Callable

from injector.kube import ApiFailed, Cluster, Listed
from injector.pod import Json

_log = logging.getLogger(__name__)
_PAUSE = 2.0
_API = "/apis/admissionregistration.k8s.io/v1"
MUTATING = f"{_API}/mutatingwebhookconfigurations"
VALIDATING = f"{_API}/validatingwebhookconfigurations"


class Trust:
    """Follows a configuration and puts our CAs into every webhook of it that has something else.

    Args: collection: MUTATING or VALIDATING. bundle: the CAs as PEM; "" while there are none.
    """

    def __init__(self, cluster: Cluster, collection: str, name: str, bundle: Callable[[], str]) -> None:
        self._cluster, self._collection, self._name, self._bundle = cluster, collection, name, bundle
        self._configuration: Json | None = None
        self._unmended = asyncio.Event()

    async def run(self) -> None:
        """Work for ever."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._follow())
            group.create_task(self._mend_again())

    async def mend(self) -> None:
        """Patch what is not as it should be; a failure is repeated by `run`."""
        bundle = base64.b64encode(self._bundle().encode()).decode()
        if not bundle or self._configuration is None:
            return
        operations = []
        for index, webhook in enumerate(self._configuration.get("webhooks") or []):
            if (webhook.get("clientConfig") or {}).get("caBundle") != bundle:
                # The test guards against a list that was reordered since we saw it.
                operations.append({"op": "test", "path": f"/webhooks/{index}/name", "value": webhook["name"]})
                operations.append({"op": "add", "path": f"/webhooks/{index}/clientConfig/caBundle", "value": bundle})
        if not operations:
            return
        path = f"{self._collection}/{self._name}"
        try:
            patched = await self._cluster.request("PATCH", path, operations, "application/json-patch+json")
        except ApiFailed as exc:
            _log.warning("caBundle of %s not patched: %s; next try in %.0f s", self._name, exc, _PAUSE)
            self._unmended.set()
            return
        self._configuration = patched
        _log.info("caBundle of %d webhooks of %s patched", len(operations) // 2, self._name)

    async def _follow(self) -> None:
        async for event in self._cluster.follow(self._collection, f"metadata.name={self._name}"):
            if isinstance(event, Listed):
                self._configuration = event.items[0] if event.items else None
            else:
                self._configuration = None if event.gone else event.item
            await self.mend()

    async def _mend_again(self) -> None:
        """Repeat what failed, with the object as it is by then: the watch may have no reason to tell it again."""
        while True:
            await self._unmended.wait()
            await asyncio.sleep(_PAUSE)
            try:
                self._configuration = await self._cluster.find(f"{self._collection}/{self._name}")
            except ApiFailed as exc:
                _log.warning("%s not read: %s; next try in %.0f s", self._name, exc, _PAUSE)
                continue
            self._unmended.clear()
            await self.mend()
