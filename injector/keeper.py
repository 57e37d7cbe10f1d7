"""Keeper: sees to it that the Secret holds good certificates and that the webhook configuration trusts them."""

import asyncio
import base64
import contextlib
import datetime as dt
import logging
from collections.abc import Callable

from injector import certs
from injector.certs import BadCerts, Certs
from injector.kube import ApiFailed, Cluster, Listed
from injector.pod import Json

_log = logging.getLogger(__name__)
SECRET = "triomesh-injector-certs"
WEBHOOK = "triomesh-sidecar-injector"
_PAUSE = 2.0
_WEBHOOKS = "/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations"


class Keeper:
    """Follows the Secret and the webhook configuration and mends both. Several replicas agree through the Secret.

    Args: use: called with every certificate that is to be served from now on.
    """

    def __init__(self, cluster: Cluster, namespace: str, use: Callable[[Certs], None]) -> None:
        self._cluster, self._namespace, self._use = cluster, namespace, use
        self._names = tuple(
            f"triomesh-injector{suffix}"
            for suffix in (f".{namespace}.svc", "", f".{namespace}", f".{namespace}.svc.cluster.local")
        )
        self._certs: Certs | None = None
        self._configuration: Json | None = None
        self._acting = asyncio.Lock()
        self._unmended = asyncio.Event()
        self.started = asyncio.Event()

    async def run(self) -> None:
        """Work for ever."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._follow_secret())
            group.create_task(self._follow_configuration())
            group.create_task(self._mend_again())
            group.create_task(self._renew())

    async def _follow_secret(self) -> None:
        path = f"/api/v1/namespaces/{self._namespace}/secrets"
        async for event in self._cluster.follow(path, f"metadata.name={SECRET}"):
            if isinstance(event, Listed):
                await self._try_secret(event.items[0] if event.items else None)
            else:
                await self._try_secret(None if event.gone else event.item)

    async def _try_secret(self, secret: Json | None) -> None:
        """Act on the Secret, until it works: what the watch will not tell again must not be lost."""
        path = f"/api/v1/namespaces/{self._namespace}/secrets/{SECRET}"
        while True:
            try:
                async with self._acting:
                    return await self._on_secret(secret)
            except ApiFailed as exc:
                _log.error("Secret %s/%s: %s; next try in %.0f s", self._namespace, SECRET, exc, _PAUSE)
            await asyncio.sleep(_PAUSE)
            with contextlib.suppress(ApiFailed):  # told above if it lasts
                secret = await self._cluster.find(path)

    async def _on_secret(self, secret: Json | None) -> None:
        now = _now()
        before: Certs | None = None
        if secret is not None:
            try:
                before = certs.from_secret_data(secret.get("data") or {})
            except BadCerts as exc:
                _log.error("Secret %s/%s cannot be used and is made anew: %s", self._namespace, SECRET, exc)
        if before is not None:
            wanted = certs.step(before, self._names, now)
        elif self._certs is not None:
            # Somebody deleted or spoilt it: taken as the wish for a new CA, without a gap in trust.
            wanted = certs.start_exchange(self._certs, now)
        else:
            wanted = certs.create(self._names, now)
        if wanted != before:
            # Our own change comes back through the watch, and so does another replica's that was faster.
            await self._store(wanted, secret)
        else:
            await self._adopt(wanted)

    async def _store(self, wanted: Certs, old: Json | None) -> None:
        path = f"/api/v1/namespaces/{self._namespace}/secrets"
        meta = {"name": SECRET, "namespace": self._namespace, "labels": {"app.kubernetes.io/part-of": "triomesh"}}
        body: Json = {"apiVersion": "v1", "kind": "Secret", "metadata": meta, "data": certs.to_secret_data(wanted)}
        try:
            if old is None:
                await self._cluster.request("POST", path, body)
            else:
                meta["resourceVersion"] = old["metadata"]["resourceVersion"]  # type: ignore[assignment]
                await self._cluster.request("PUT", f"{path}/{SECRET}", body | {"type": old.get("type", "Opaque")})
        except ApiFailed as exc:
            if exc.code != 409:
                raise
            _log.info("another replica changed Secret %s first", SECRET)

    async def _adopt(self, wanted: Certs) -> None:
        self._certs = wanted
        # Trust first: the API server must know the CA before it meets its leaf.
        await self._mend()
        self._use(wanted)
        _log.info("serving certificate in use; next change due %s", certs.due_at(wanted).isoformat())
        self.started.set()

    async def _follow_configuration(self) -> None:
        async for event in self._cluster.follow(_WEBHOOKS, f"metadata.name={WEBHOOK}"):
            if isinstance(event, Listed):
                self._configuration = event.items[0] if event.items else None
            else:
                self._configuration = None if event.gone else event.item
            await self._mend()

    async def _mend(self) -> None:
        """Put our CAs into every webhook of the configuration that has something else."""
        if self._certs is None or self._configuration is None:
            return
        bundle = base64.b64encode(self._certs.bundle.encode()).decode()
        operations = []
        for index, webhook in enumerate(self._configuration.get("webhooks") or []):
            if (webhook.get("clientConfig") or {}).get("caBundle") != bundle:
                # The test guards against a list that was reordered since we saw it.
                operations.append({"op": "test", "path": f"/webhooks/{index}/name", "value": webhook["name"]})
                operations.append({"op": "add", "path": f"/webhooks/{index}/clientConfig/caBundle", "value": bundle})
        if not operations:
            return
        try:
            patched = await self._cluster.request("PATCH", f"{_WEBHOOKS}/{WEBHOOK}", operations, "application/json-patch+json")
        except ApiFailed as exc:
            _log.warning("caBundle of %s not patched: %s; next try in %.0f s", WEBHOOK, exc, _PAUSE)
            self._unmended.set()
            return
        self._configuration = patched
        _log.info("caBundle of %d webhooks of %s patched", len(operations) // 2, WEBHOOK)

    async def _mend_again(self) -> None:
        """Repeat what failed, with the object as it is by then: the watch may have no reason to tell it again."""
        while True:
            await self._unmended.wait()
            await asyncio.sleep(_PAUSE)
            try:
                self._configuration = await self._cluster.find(f"{_WEBHOOKS}/{WEBHOOK}")
            except ApiFailed as exc:
                _log.warning("%s not read: %s; next try in %.0f s", WEBHOOK, exc, _PAUSE)
                continue
            self._unmended.clear()
            await self._mend()

    async def _renew(self) -> None:
        """Look at the Secret whenever a step is due; at least every hour, should the clock have been set."""
        while True:
            await self.started.wait()
            assert self._certs is not None
            wait = (certs.due_at(self._certs) - _now()).total_seconds()
            await asyncio.sleep(min(max(wait, 1.0), 3600.0))
            if _now() < certs.due_at(self._certs):
                continue
            try:
                secret = await self._cluster.find(f"/api/v1/namespaces/{self._namespace}/secrets/{SECRET}")
            except ApiFailed as exc:
                _log.warning("Secret %s not read: %s", SECRET, exc)
                continue
            await self._try_secret(secret)


def _now() -> dt.datetime:
    return dt.datetime.now(dt.UTC)
