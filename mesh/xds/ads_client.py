"""The client's side of an ADS stream, sans I/O: bytes of responses in, bytes of requests and Snapshots out.

It takes all clusters and listeners, asks by name for the endpoints, routes and secrets that those refer to, and
forgets what is not referred to any more. A bad resource is refused by name and its last good version kept; the rest
of the same response is applied.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import envoy.service.discovery.v3.discovery_pb2 as discovery_pb
from google.protobuf.message import DecodeError as ProtobufError

from mesh.model.endpoint import LoadAssignment
from mesh.model.node import Node
from mesh.model.secret import Secret
from mesh.model.snapshot import EMPTY_SNAPSHOT, Snapshot
from mesh.xds.decode import decode
from mesh.xds.error import DecodeError, ProtocolError
from mesh.xds.kind import BY_URL, PUSH_ORDER, Kind, Variant
from mesh.xds.nack import write_nack
from mesh.xds.node import write_node
from mesh.xds.references import references
from mesh.xds.resource import Ref
from mesh.xds.state_file import StateError, pack_state, unpack_state
from mesh.xds.version import version_of
from mesh.xds.warming import Accepted, Warmer

__all__ = ["AdsClient", "StateError", "Update"]

_WHOLE = (Kind.CLUSTER, Kind.LISTENER)
_COMPILED = (Kind.CLUSTER, Kind.LISTENER, Kind.ROUTE, Kind.SECRET)
"""Types whose resources may turn out to be of no use after decoding."""
_WRAPPER_URL = "type.googleapis.com/envoy.service.discovery.v3.Resource"


@dataclass(frozen=True, slots=True)
class Update:
    """What came of one event.

    requests: serialized messages to write, in order.
    snapshot: the new warm configuration, None when it did not change. It never holds a listener whose routes are
    missing or a cluster whose endpoints are: those keep their last warm version, or stay out until they are warm.
    complete: nothing is missing and CDS and LDS have both answered: a starting proxy may become ready.
    rejected: resources of this response that were NACKed.
    answered: type and names of the response that the first request answers; None when there was none.
    """

    requests: tuple[bytes, ...] = ()
    snapshot: Snapshot | None = None
    complete: bool = False
    rejected: tuple[DecodeError, ...] = ()
    answered: tuple[Kind, frozenset[str]] | None = None


@dataclass(slots=True)
class _Topic:
    """One type on the present stream. names: asked for; version and nonce: of the last response (SotW, ACKs)."""

    names: set[str]
    version: str = ""
    nonce: str = ""


class AdsClient:
    """One per proxy, for life: it survives streams. Concurrency: one caller at a time."""

    def __init__(self, node: Node, variant: Variant = Variant.DELTA) -> None:
        self.variant = variant
        self.snapshot: Snapshot = EMPTY_SNAPSHOT
        self.complete = False
        self._node = node
        self._accepted: dict[Kind, dict[str, Accepted]] = {kind: {} for kind in Kind}
        self._rejections: dict[Ref, DecodeError] = {}
        self._absent: set[Ref] = set()
        self._given_up: set[Ref] = set()
        self._missing: set[Ref] = set()
        self._answered: set[Kind] = set()
        self._in_response: set[str] = set()
        self._problems: dict[Ref, tuple[str, str]] = {}
        self._unusable: set[Ref] = set()
        self._topics: dict[Kind, _Topic] = {}
        self._warmer = Warmer()

    @property
    def method(self) -> str:
        """gRPC method to call (stream-stream; both sides' messages are passed as bytes)."""
        return self.variant.value

    @property
    def missing(self) -> frozenset[Ref]:
        """Resources that are referred to and have not come yet."""
        return frozenset(self._missing)

    @property
    def rejections(self) -> Mapping[Ref, DecodeError]:
        """Resources whose newest version was refused (an older one may be in use)."""
        return dict(self._rejections)

    @property
    def versions(self) -> Mapping[Ref, str]:
        """Version of every accepted resource, as the server named it (SotW: a hash of its content)."""
        return {(kind, name): held.version for kind, group in self._accepted.items() for name, held in group.items()}

    def on_open(self) -> tuple[bytes, ...]:
        """A stream was opened (again): the first requests, with the versions we have."""
        self._topics = {}
        # What did not exist on the old stream may exist now; what was refused there is sent again if it is still so.
        self._absent.clear()
        self._rejections.clear()
        self._unusable = set(self._problems)
        self._problems.clear()
        requests = [self._first_request(kind, set()) for kind in _WHOLE]
        return (*requests, *self._subscribe())

    def on_close(self) -> None:
        """The stream ended. Everything accepted stays in force; `on_open` comes next."""
        self._topics = {}

    def on_response(self, data: bytes) -> Update:
        """A message arrived. Raises: ProtocolError: not a discovery response we asked for; close the stream."""
        is_delta = self.variant is Variant.DELTA
        message_type = discovery_pb.DeltaDiscoveryResponse if is_delta else discovery_pb.DiscoveryResponse
        try:
            response = message_type.FromString(data)
        except ProtobufError as exc:
            raise ProtocolError(f"not a {message_type.DESCRIPTOR.name}: {exc}") from exc
        kind = BY_URL.get(response.type_url)
        topic = self._topics.get(kind) if kind is not None else None
        if kind is None or topic is None:
            raise ProtocolError(f"a response of type {response.type_url!r}, which was not asked for")
        self._in_response = set()
        errors = self._take_delta(kind, response) if is_delta else self._take_sotw(kind, response)
        self._answered.add(kind)
        topic.nonce = response.nonce
        if not is_delta and not errors:
            topic.version = response.version_info
        return self._update(errors, self._answer(kind, topic, errors), (kind, frozenset(self._in_response)))

    def on_applied(self, update: Update, problems: Mapping[str, str]) -> tuple[bytes, ...]:
        """The snapshot of `update` was put to use: the requests to write instead of the update's.

        Args: problems: names of resources -> why they cannot be used although they could be decoded (a port that
            is taken, a key that does not fit). The ACK of a response that brought one becomes a NACK; one that came
            earlier (a listener that only now has its routes) is refused afterwards, by name. Each is said once.
        """
        fresh = self._fresh_problems(problems)
        requests = list(update.requests)
        for kind, errors in fresh.items():
            topic = self._topics.get(kind)
            if topic is None:
                continue
            answered, names = update.answered or (None, frozenset[str]())
            now = [error for error in errors if kind is answered and error.resource in names]
            if now:
                requests[0] = self._answer(kind, topic, (*update.rejected, *now))
            late = [error for error in errors if error not in now]
            if late:
                requests.append(self._answer(kind, topic, late))
        return tuple(requests)

    def _fresh_problems(self, problems: Mapping[str, str]) -> dict[Kind, list[DecodeError]]:
        """What was not reported yet on this stream, of these versions. Forgets what is solved.

        What this stream has not brought yet is left for later: its server would not know what is meant.
        """
        now = {
            (kind, name): (self._accepted[kind][name].version, text)
            for name, text in problems.items()
            for kind in _COMPILED
            if name in self._accepted[kind] and (kind, name) not in self._unusable
        }
        fresh: dict[Kind, list[DecodeError]] = {}
        for (kind, name), report in now.items():
            if self._problems.get((kind, name)) != report:
                fresh.setdefault(kind, []).append(DecodeError(name, "", report[1]))
        self._problems = now
        return fresh

    def give_up_waiting(self) -> Update:
        """Envoy's initial_fetch_timeout (15 s): go on without what is missing (no endpoints, no routes)."""
        # A secret cannot be done without: its listener or cluster stays out.
        self._given_up |= {ref for ref in self._missing if ref[0] is not Kind.SECRET}
        return self._update([], None)

    def dump(self, with_keys: bool = False) -> bytes:
        """The accepted resources, as the content of a state file. with_keys: certificates' private keys too."""
        return pack_state(
            self._node.id,
            {
                kind: [
                    (name, held.version, held.body)
                    for name, held in sorted(self._accepted[kind].items())
                    if with_keys or not (isinstance(held.value, Secret) and held.value.certificate is not None)
                ]
                for kind in PUSH_ORDER
            },
        )

    def restore(self, data: bytes) -> Update:
        """Take over a dump, before `on_open`. Raises: StateError: damaged, of another format or node.

        Resources that this version of the program cannot read are left out and listed in `rejected`.
        """
        errors: list[DecodeError] = []
        for kind, stored in unpack_state(self._node.id, data).items():
            for name, version, body in stored:
                self._take(kind, name, version, body, errors)
            self._answered.add(kind)
        return self._update(errors, None)

    # Responses

    def _take_delta(self, kind: Kind, response: Any) -> list[DecodeError]:
        errors: list[DecodeError] = []
        for item in response.resources:
            # Without content it is a heartbeat of a resource with a TTL: nothing changed.
            if item.HasField("resource"):
                self._absent.discard((kind, item.name))
                if self._is_of(kind, item.name, item.resource, errors):
                    self._take(kind, item.name, item.version, item.resource.value, errors)
        for name in response.removed_resources:
            self._drop(kind, name)
            if kind not in _WHOLE:
                self._absent.add((kind, name))
        return errors

    def _take_sotw(self, kind: Kind, response: Any) -> list[DecodeError]:
        errors: list[DecodeError] = []
        present: set[str] = set()
        # Only the resource itself says its name; an unchanged one is recognized without decoding it.
        names = {held.body: name for name, held in self._accepted[kind].items()}
        for packed in response.resources:
            name = names.get(packed.value, "")
            if packed.type_url == _WRAPPER_URL:
                wrapper = discovery_pb.Resource.FromString(packed.value)
                name, packed = wrapper.name, wrapper.resource
            if self._is_of(kind, name, packed, errors):
                present.add(self._take(kind, name, version_of(packed.value), packed.value, errors))
        if kind in _WHOLE:
            present.update(error.resource for error in errors)
            for name in self._accepted[kind].keys() - present:
                self._drop(kind, name)
            for ref in [ref for ref in self._rejections if ref[0] is kind and ref[1] not in present]:
                del self._rejections[ref]
        return errors

    def _is_of(self, kind: Kind, name: str, packed: Any, errors: list[DecodeError]) -> bool:
        if packed.type_url == kind.value:
            return True
        errors.append(DecodeError(name, "", f"is a {packed.type_url!r} in a response of type {kind.value!r}"))
        return False

    def _take(self, kind: Kind, name: str, version: str, body: bytes, errors: list[DecodeError]) -> str:
        """Accept one resource or say why not. Returns its name."""
        self._in_response.add(name)
        self._unusable.discard((kind, name))
        held = self._accepted[kind].get(name)
        if held is not None and held.body == body:
            # The very value stays, so that whoever compiled it finds it again.
            self._accept(kind, name, Accepted(held.value, version, body, held.refs))
            return name
        try:
            value = decode(kind, body, name)
        except DecodeError as error:
            # Delta names the resource outside of it; SotW only inside.
            named = DecodeError(name or error.resource, error.field, error.message)
            errors.append(named)
            self._rejections[kind, named.resource] = named
            return named.resource
        own_name = name or (value.cluster_name if isinstance(value, LoadAssignment) else value.name)
        self._in_response.add(own_name)
        self._accept(kind, own_name, Accepted(value, version, body, references(value)))
        return own_name

    def _accept(self, kind: Kind, name: str, accepted: Accepted) -> None:
        self._accepted[kind][name] = accepted
        self._rejections.pop((kind, name), None)
        self._given_up.discard((kind, name))

    def _drop(self, kind: Kind, name: str) -> None:
        self._accepted[kind].pop(name, None)
        self._rejections.pop((kind, name), None)

    # What follows

    def _update(
        self,
        errors: list[DecodeError],
        answer: bytes | None,
        answered: tuple[Kind, frozenset[str]] | None = None,
    ) -> Update:
        snapshot, self._missing = self._warmer.warm(self._accepted, self._absent | self._given_up)
        # The answer goes out first: a server may hold back what follows until it has it.
        requests = [answer] if answer is not None else []
        if self._topics:
            requests.extend(self._subscribe())
        else:
            self._forget_unneeded()
        self.complete = not self._missing and all(kind in self._answered for kind in _WHOLE)
        is_new = snapshot != self.snapshot
        self.snapshot = snapshot
        return Update(tuple(requests), snapshot if is_new else None, self.complete, tuple(errors), answered)

    def _forget_unneeded(self) -> dict[Kind, set[str]]:
        """What is needed now, by type; everything else that goes by name is forgotten."""
        needed: dict[Kind, set[str]] = {kind: set() for kind in PUSH_ORDER if kind not in _WHOLE}
        for kind, name in self._warmer.needed(self._accepted):
            needed[kind].add(name)
        for kind, names in needed.items():
            for name in self._accepted[kind].keys() - names:
                self._drop(kind, name)
        self._absent = {ref for ref in self._absent if ref[1] in needed[ref[0]]}
        self._given_up = {ref for ref in self._given_up if ref[1] in needed[ref[0]]}
        return needed

    def _subscribe(self) -> Iterator[bytes]:
        """Requests that bring the subscriptions by name in line with what is needed."""
        for kind, names in self._forget_unneeded().items():
            topic = self._topics.get(kind)
            if topic is None:
                if names:
                    yield self._first_request(kind, names)
            elif topic.names != names:
                yield self._change_request(kind, topic, names)

    # Requests

    def _first_request(self, kind: Kind, names: set[str]) -> bytes:
        """Opens a type on this stream; the very first one says who we are."""
        node = write_node(self._node) if not self._topics else None
        self._topics[kind] = _Topic(set(names))
        if self.variant is Variant.DELTA:
            held = self._accepted[kind]
            return _bytes(
                discovery_pb.DeltaDiscoveryRequest(
                    node=node,
                    type_url=kind.value,
                    resource_names_subscribe=sorted(names),
                    # What we could not use is sent again, so that the new stream's server hears of it.
                    initial_resource_versions={
                        name: item.version for name, item in held.items() if (kind, name) not in self._unusable
                    },
                )
            )
        return _bytes(discovery_pb.DiscoveryRequest(node=node, type_url=kind.value, resource_names=sorted(names)))

    def _change_request(self, kind: Kind, topic: _Topic, names: set[str]) -> bytes:
        before, topic.names = topic.names, set(names)
        if self.variant is Variant.DELTA:
            return _bytes(
                discovery_pb.DeltaDiscoveryRequest(
                    type_url=kind.value,
                    resource_names_subscribe=sorted(names - before),
                    resource_names_unsubscribe=sorted(before - names),
                )
            )
        return _bytes(self._sotw_request(kind, topic))

    def _answer(self, kind: Kind, topic: _Topic, errors: Iterable[DecodeError]) -> bytes:
        """ACK, or NACK if there are errors."""
        if self.variant is Variant.DELTA:
            request = discovery_pb.DeltaDiscoveryRequest(type_url=kind.value, response_nonce=topic.nonce)
        else:
            request = self._sotw_request(kind, topic)
        refused = list(errors)
        if refused:
            write_nack(request.error_detail, refused)
        return _bytes(request)

    def _sotw_request(self, kind: Kind, topic: _Topic) -> Any:
        return discovery_pb.DiscoveryRequest(
            type_url=kind.value,
            version_info=topic.version,
            response_nonce=topic.nonce,
            resource_names=sorted(topic.names),
        )


def _bytes(message: Any) -> bytes:
    return bytes(message.SerializeToString())
