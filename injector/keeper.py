"""Keeper: sees to it that the Secret holds good certificates and that the webhook configurations trust them."""

import asyncio
import contextlib
import datetime as dt
import logging
from collections.abc import Callable

from injector import certs
from injector.certs import BadCerts, Certs
from injector.kube import ApiFailed, Cluster, Listed
from injector.pod import Json
from injector.trust import MUTATING, VALIDATING, Trust

_log = logging.getLogger(__name__)
SECRET = "triomesh-injector-certs"
WEBHOOK = "triomesh-sidecar-injector"
VALIDATOR = "triomesh-validator"
_PAUSE = 2.0


class Keeper:
    """Follows the Secret and both webhook configurations and mends them. Several replicas agree through the Secret.

    Args: use: called with every certificate that is to be served from now on.
    """

    def __init__(self, cluster: Cluster, namespace: str, use: Callable[[Certs], None]) -> None:
        self._cluster, self._namespace, self._use = cluster, namespace, use
        self._names = tuple(
            f"triomesh-injector{suffix}"
            for suffix in (f".{namespace}.svc", "", f".{namespace}", f".{namespace}.svc.cluster.local")
        )
        self._certs: Certs | None = None
        self._trusts = [
            Trust(cluster, collection, name, lambda: self._certs.bundle if self._certs is not None else "")
            for collection, name in ((MUTATING, WEBHOOK), (VALIDATING, VALIDATOR))
        ]
        self._acting = asyncio.Lock()
        self.started = asyncio.Event()

    async def run(self) -> None:
        """Work for ever."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._follow_secret())
            for trust in self._trusts:
                group.create_task(trust.run())
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
        for trust in self._trusts:
            await trust.mend()
        self._use(wanted)
        _log.info("serving certificate in use; next change due %s", certs.due_at(wanted).isoformat())
        self.started.set()

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
