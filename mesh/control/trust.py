"""Trust: which CA signs now, whom the mesh trusts, and what is to be written so that everybody knows.

Sans-I/O: fed by watches of Namespaces, of the system namespace's Secrets and of the ConfigMaps `triomesh-ca-root-cert`
(it is a `Store` of `kube.watch`), asked by the keeper what to write.

Which CA: the operator's Secret `cacerts` if there is one, else our own `triomesh-ca-secret`, made by whoever comes first.
A Secret that cannot be used stops nothing that runs: the CA before it goes on, and `trouble` says why. At the start there
is nothing before it, and an operator's CA is never replaced by one of our own behind his back: then there is no CA.

Rotation. A leaf can be verified by those who know its root, so a new root goes before its leaves:
  1. the new Secret's roots are added to the bundle (Secret `triomesh-ca-roots`, then every namespace's ConfigMap);
  2. `overlap_seconds` later (by default a leaf's life, so that every proxy has renewed and with that has learned the
     roots) the new CA signs. Until then the one before it does, if this process knows it or it is our own;
  3. roots that are wanted no more leave the bundle when no leaf under them can be alive.
An operator who first adds his new root to root-cert.pem, waits, and then changes the CA thus meets no delay: the root has
been published long enough. With overlap_seconds 0 there is neither step 2 nor 3: for the day on which a key is stolen.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from mesh.control import ca_secret, roots
from mesh.control.ca import MAX_LEAF_SECONDS, ROOT_SECONDS, Authority, fingerprint, make_root, renew_root
from mesh.control.ca_secret import OWN_SECRET, PLUGGED_SECRET, CaError
from mesh.control.kube import kinds
from mesh.control.kube.kinds import Kind
from mesh.control.roots import ROOTS_SECRET, Bundle

ROOT_CONFIG_MAP = "triomesh-ca-root-cert"
ROOT_KEY = "root-cert.pem"
RENEW_ROOT_SECONDS = ROOT_SECONDS / 5
"""Our own root is renewed two years before its end."""
DEFAULT_OVERLAP_SECONDS = 24 * 3600.0
_LABELS = {"app.kubernetes.io/part-of": "triomesh"}
_SECRETS = frozenset((OWN_SECRET, PLUGGED_SECRET, ROOTS_SECRET))

Item = Mapping[str, Any]
Key = tuple[str, str]


@dataclass(frozen=True, slots=True)
class Write:
    """One object to create (POST) or to replace (PUT, only as it was seen). what: for the log."""

    method: str
    path: str
    body: dict[str, Any]
    what: str


class Trust:
    """Concurrency: one thread. After changes: `refresh`, then `writes`."""

    def __init__(self, namespace: str, overlap_seconds: float = DEFAULT_OVERLAP_SECONDS) -> None:
        self._namespace = namespace
        self._overlap = overlap_seconds
        self._items: dict[Kind, dict[Key, Item]] = {kinds.NAMESPACE: {}, kinds.SECRET: {}, kinds.CONFIG_MAP: {}}
        self._own: Authority | None = None
        """Our own CA as last read or made, so that it can be restored and renewed."""
        self.authority: Authority | None = None
        self.bundle: Bundle = {}
        self.trouble = ""
        """Why the CA is not the one that it should be, or there is none; "" when all is well."""
        self.note = ""
        """What is under way."""
        self.deadline = float("inf")
        """Unix seconds at which `refresh` has something new to say."""

    # As a store of `kube.watch`

    def put(self, kind: Kind, item: Item) -> bool:
        metadata = item.get("metadata") or {}
        if kind is kinds.SECRET and metadata.get("name") not in _SECRETS:
            return False  # foreign keys are not to be kept in memory
        key = (metadata.get("namespace") or "", metadata.get("name") or "")
        has_changed = self._items[kind].get(key) != item
        self._items[kind][key] = item
        return has_changed

    def remove(self, kind: Kind, key: Key) -> bool:
        return self._items[kind].pop(key, None) is not None

    def replace(self, kind: Kind, items: Iterable[Item]) -> int:
        old, self._items[kind] = self._items[kind], {}
        for item in items:
            self.put(kind, item)
        new = self._items[kind]
        return sum(old.get(key) != new.get(key) for key in old.keys() | new.keys())

    # Decisions

    @property
    def roots_pem(self) -> str:
        """The bundle as peers are to have it."""
        return roots.bundle_pem(self.bundle)

    def refresh(self, now: float) -> None:
        """Decide anew. Call after changes and at `deadline`."""
        self.trouble = self.note = ""
        self.deadline = float("inf")
        wanted = self._wanted(now)
        published = self._published()
        if wanted is None and self.authority is None:
            return
        fallback = self.authority or self._fallback(now)
        target = wanted or fallback
        assert target is not None
        retire = MAX_LEAF_SECONDS if self._overlap else 0.0
        self.bundle = roots.merged(published, target.roots, now, retire)
        known_since = self.bundle[fingerprint(target.anchor)].since
        ready_at = known_since + self._overlap if known_since else 0.0
        if now < ready_at and fallback is not None and fallback.not_after > now and self._is_trusted(fallback):
            if fallback.anchor != target.anchor:
                when = datetime.fromtimestamp(ready_at, UTC)
                self.note = f"the new CA signs from {when:%Y-%m-%dT%H:%M:%SZ} on, when its root is known everywhere"
                self.deadline = ready_at
                target = fallback
        self.authority = target
        coming = (self.deadline, roots.next_end(self.bundle, now), self._renewal())
        self.deadline = min(each for each in (*coming, float("inf")) if each > now)

    def writes(self, now: float, is_leader: bool) -> list[Write]:
        """What is to be written, in order; all of it may be repeated."""
        secrets = self._items[kinds.SECRET]
        own, plugged, record = (secrets.get((self._namespace, n)) for n in (OWN_SECRET, PLUGGED_SECRET, ROOTS_SECRET))
        found: list[Write] = []
        if own is None and plugged is None:
            # Who loses the race reads the winner's by the watch. A Secret that was deleted comes back as it was.
            self._own = self._own or make_root(now)
            return [self._secret(OWN_SECRET, ca_secret.OWN_TYPE, ca_secret.data(self._own), None)]
        if self.authority is None or not is_leader:
            return found
        if own is not None and self._own is not None and now >= self._renewal():
            renewed = renew_root(self._own, now)
            found.append(self._secret(OWN_SECRET, ca_secret.OWN_TYPE, ca_secret.data(renewed), own))
        data = roots.write(self.bundle)
        if record is None or record.get("data") != data:
            found.append(self._secret(ROOTS_SECRET, roots.ROOTS_TYPE, data, record))
        found += self._config_maps(self.roots_pem)
        return found

    def _wanted(self, now: float) -> Authority | None:
        """What the Secrets ask for; None (and `trouble`) when it cannot be used, None when there is nothing yet."""
        name = PLUGGED_SECRET if self._is_plugged else OWN_SECRET
        item = self._items[kinds.SECRET].get((self._namespace, name))
        if item is None:
            return None
        try:
            authority = ca_secret.load(item, now)
        except CaError as error:
            self.trouble = str(error)
            return None
        if name == OWN_SECRET:
            self._own = authority
        return authority

    def _fallback(self, now: float) -> Authority | None:
        """After a restart in the middle of a change from our own CA to the operator's."""
        item = self._items[kinds.SECRET].get((self._namespace, OWN_SECRET))
        try:
            return ca_secret.load(item, now) if item is not None and not self.trouble else None
        except CaError:
            return None  # it is not the one that is wanted; the wanted one signs at once

    @property
    def _is_plugged(self) -> bool:
        return (self._namespace, PLUGGED_SECRET) in self._items[kinds.SECRET]

    def _published(self) -> Bundle | None:
        item = self._items[kinds.SECRET].get((self._namespace, ROOTS_SECRET))
        if item is None:
            # Before the record is written (or while it is being restored) memory is as good.
            return self.bundle or None
        try:
            return roots.read(item)
        except ValueError as error:
            self.trouble = self.trouble or f"{error}; it is written anew"
            return self.bundle or None

    def _is_trusted(self, authority: Authority) -> bool:
        return fingerprint(authority.anchor) in self.bundle

    def _renewal(self) -> float:
        """When our own root is to be renewed; inf while an operator's is in force."""
        return float("inf") if self._is_plugged or self._own is None else self._own.not_after - RENEW_ROOT_SECONDS

    def _config_maps(self, text: str) -> list[Write]:
        found = []
        for (_, name), namespace in self._items[kinds.NAMESPACE].items():
            if _is_terminating(namespace):
                continue
            item = self._items[kinds.CONFIG_MAP].get((name, ROOT_CONFIG_MAP))
            if item is not None and (item.get("data") or {}).get(ROOT_KEY) == text:
                continue
            path = kinds.CONFIG_MAP.path("v1", name)
            what = f"ConfigMap {name}/{ROOT_CONFIG_MAP}"
            if item is None:
                body = _new("ConfigMap", name, ROOT_CONFIG_MAP, data={ROOT_KEY: text})
                found.append(Write("POST", path, body, what))
            else:
                body = _changed("ConfigMap", item, {ROOT_KEY: text})
                found.append(Write("PUT", f"{path}/{ROOT_CONFIG_MAP}", body, what))
        return found

    def _secret(self, name: str, type_: str, data: dict[str, str], old: Item | None) -> Write:
        path, what = kinds.SECRET.path("v1", self._namespace), f"Secret {self._namespace}/{name}"
        if old is None:
            return Write("POST", path, _new("Secret", self._namespace, name, type=type_, data=data), what)
        return Write("PUT", f"{path}/{name}", _changed("Secret", old, data), what)


def _new(kind: str, namespace: str, name: str, **rest: Any) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": kind,
        "metadata": {"name": name, "namespace": namespace, "labels": dict(_LABELS)},
        **rest,
    }


def _changed(kind: str, item: Item, data: Mapping[str, str]) -> dict[str, Any]:
    # The items of a list do not say their kind.
    return {**item, "apiVersion": "v1", "kind": kind, "data": {**(item.get("data") or {}), **data}}


def _is_terminating(namespace: Item) -> bool:
    """The API server refuses new objects there."""
    if (namespace.get("metadata") or {}).get("deletionTimestamp"):
        return True
    return (namespace.get("status") or {}).get("phase") == "Terminating"
