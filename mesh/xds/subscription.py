"""Subscription: what one client asked for of one type, what it was sent, and what it made of that.

Facts about a name, in the order in which they come about:

    wanted     the client asked for it by name, or for everything (wildcard)
    sent       the version that left last; None = the client was told that there is no such resource
    in flight  sent in a response that is neither ACKed nor NACKed yet
    acked      the version the client said it has taken
    rejected   the version it refused, and why; an older acked one stays in force there

A version that was sent is never sent again, even when it was refused: only new content can help.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import Enum

from mesh.xds.kind import Kind, Variant
from mesh.xds.resource import Resource

WILDCARD = "*"


class Status(Enum):
    """CSDS's `ConfigStatus`, per resource."""

    SYNCED = "SYNCED"
    STALE = "STALE"
    NOT_SENT = "NOT_SENT"
    ERROR = "ERROR"


@dataclass(frozen=True, slots=True)
class Rejection:
    """A refused version. at: when the NACK came, on the caller's clock."""

    version: str
    message: str
    at: float


@dataclass(slots=True)
class Subscription:
    """One type on one stream. Fields are facts; who decides what to send is `AdsStream`."""

    kind: Kind
    variant: Variant
    is_wildcard: bool = False
    is_greeted: bool = False
    """A wildcard client waits for a first answer even when there is nothing to tell."""
    is_answered: bool = False
    """The client has ACKed or NACKed a response."""
    names: set[str] = field(default_factory=set)
    sent: dict[str, Resource | None] = field(default_factory=dict)
    sent_at: dict[str, float] = field(default_factory=dict)
    acked: dict[str, Resource] = field(default_factory=dict)
    unseen: set[str] = field(default_factory=set)
    """Names that the client brought along from an earlier stream: their version is known, their content is not."""
    rejected: dict[str, Rejection] = field(default_factory=dict)
    in_flight: OrderedDict[str, Mapping[str, Resource | None]] = field(default_factory=OrderedDict)
    last_nonce: str = ""
    alone: set[str] = field(default_factory=set)
    """To be sent in a response of its own: the next NACK is to say which of them is meant."""

    def covers(self, name: str) -> bool:
        return self.is_wildcard or name in self.names

    def bring_along(self, versions: Mapping[str, str]) -> None:
        """`initial_resource_versions`: the client still has these from an earlier stream."""
        for name, version in versions.items():
            known = Resource(self.kind, name, version, b"")
            self.sent[name] = self.acked[name] = known
            self.unseen.add(name)

    def recognize(self, target: Mapping[str, Resource]) -> None:
        """Brought along in just the version that we have: then we know its content after all."""
        for name in [
            name for name in self.unseen if name in target and target[name].version == self.acked[name].version
        ]:
            self.sent[name] = self.acked[name] = target[name]
            self.unseen.discard(name)

    def start_over(self) -> None:
        """The client has nothing (any more): everything it wants is to be sent."""
        self.is_greeted = self.is_answered = False
        self.sent.clear()
        self.acked.clear()
        self.unseen.clear()
        self.rejected.clear()
        self.in_flight.clear()

    def forget(self, names: Iterable[str]) -> None:
        """The client dropped these by itself."""
        for name in names:
            self.names.discard(name)
            for facts in (self.sent, self.sent_at, self.acked, self.rejected):
                facts.pop(name, None)
            self.unseen.discard(name)
            self.alone.discard(name)

    def forget_sent(self, names: Iterable[str]) -> None:
        """These do not exist any more, and there is no way to say so (SotW): send them again if they come back."""
        for name in list(names):
            self.sent.pop(name, None)
            self.sent_at.pop(name, None)

    def on_sent(self, nonce: str, contents: Mapping[str, Resource | None], now: float) -> None:
        """A response left. contents: resources, and None for names said to be gone."""
        self.is_greeted = True
        self.last_nonce = nonce
        self.in_flight[nonce] = contents
        self.alone.difference_update(contents)
        for name, resource in contents.items():
            if resource is None and name not in self.names:
                self.sent.pop(name, None)
                self.sent_at.pop(name, None)
            else:
                self.sent[name] = resource
                self.sent_at[name] = now

    def on_ack(self, nonce: str) -> None:
        """The client took what was in this response (and, in SotW, in all before it)."""
        for contents in self._settle(nonce):
            self._accept(contents)

    def on_nack(self, nonce: str, refused: Iterable[str], message: str, now: float) -> None:
        """The client took all but `refused`."""
        *earlier, last = self._settle(nonce)
        for contents in earlier:
            self._accept(contents)
        refused_names = set(refused)
        self._accept({name: resource for name, resource in last.items() if name not in refused_names})
        for name in refused_names:
            resource = last.get(name)
            if resource is not None and self.covers(name):
                self.rejected[name] = Rejection(resource.version, message, now)

    def on_late_nack(self, refused: Iterable[tuple[str, str]], now: float) -> None:
        """(name, message): the client has found that it cannot use what it had accepted."""
        for name, message in refused:
            if self.covers(name):
                self.rejected[name] = Rejection(self.acked[name].version, message, now)

    def on_vague_nack(self, nonce: str) -> None:
        """One of several was refused, and nobody can say which were taken: each is sent again, alone."""
        *earlier, last = self._settle(nonce)
        for contents in earlier:
            self._accept(contents)
        names = [name for name, resource in last.items() if resource is not None and self.covers(name)]
        self.forget_sent(names)
        self.alone.update(names)

    def held_by_client(self) -> Iterator[Resource]:
        """Everything that may be in force there now: the last accepted version and those under way."""
        yield from self.acked.values()
        for contents in self.in_flight.values():
            for resource in contents.values():
                if resource is not None:
                    yield resource

    def is_settled(self, name: str) -> bool:
        """The client has some version of it and is not about to drop it, or has refused what we had."""
        if any(name in contents and contents[name] is None for contents in self.in_flight.values()):
            return False
        return name in self.acked or name in self.rejected

    def status(self, name: str, wanted_version: str | None) -> Status:
        """Where a resource stands. wanted_version: of the newest content, None = the resource is to go away."""
        rejection = self.rejected.get(name)
        if rejection is not None and rejection.version == wanted_version:
            return Status.ERROR
        if name not in self.sent:
            return Status.NOT_SENT
        acked = self.acked.get(name)
        return Status.SYNCED if acked is not None and acked.version == wanted_version else Status.STALE

    def _settle(self, nonce: str) -> list[Mapping[str, Resource | None]]:
        self.is_answered = True
        if self.variant is Variant.DELTA:
            return [self.in_flight.pop(nonce)]
        settled = []
        while True:
            earliest, contents = self.in_flight.popitem(last=False)
            settled.append(contents)
            if earliest == nonce:
                return settled

    def _accept(self, contents: Mapping[str, Resource | None]) -> None:
        for name, resource in contents.items():
            self.unseen.discard(name)
            if resource is None:
                self.acked.pop(name, None)
                self.rejected.pop(name, None)
            elif self.covers(name):
                self.acked[name] = resource
                rejection = self.rejected.get(name)
                if rejection is not None and rejection.version != resource.version:
                    del self.rejected[name]
