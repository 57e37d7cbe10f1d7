"""The server's side of one ADS stream, sans I/O: requests and snapshots in, responses out.

What may leave and when is decided in `mesh.xds.ordering` (make before break), for both variants and all types by one
rule; it gives CDS -> EDS -> LDS -> RDS for additions and the reverse for removals. It binds only clients that take all
clusters (wildcard, like Envoy and our proxy); one that asks by name (gRPC: LDS -> RDS -> CDS -> EDS) waits for itself.

When to answer a request (the rest is silence):
    first of its type, or a SotW one without nonce    everything asked for
    NACK                                              nothing; the refused version is not sent again
    NACK of several that does not say which           each of them once more, alone (endpoints, routes, secrets)
    NACK, naming it, of what was ACKed before         nothing; as if it had been refused at once
    ACK                                               whatever waited for it
    stale nonce                                       nothing (SotW: its names are ignored too; a newer request follows)
    names added                                       those
    names taken away                                  nothing
Envoy warms a changed cluster (listener) anew and then waits for its endpoints (routes): these are owed again after
every CDS (LDS) response that names them, changed or not.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import envoy.service.discovery.v3.discovery_pb2 as discovery_pb
from google.protobuf.message import DecodeError as ProtobufError

from mesh.model.node import Node
from mesh.xds.error import LimitError, ProtocolError
from mesh.xds.kind import BY_URL, PUSH_ORDER, Kind, Variant
from mesh.xds.nack import named_in_details, named_in_message
from mesh.xds.node import read_node
from mesh.xds.ordering import Ordering
from mesh.xds.resource import EMPTY_BUNDLE, Bundle, Ref, Resource
from mesh.xds.resource_status import ResourceStatus, not_sent, resource_status
from mesh.xds.response import Contents, Response, delta_response, nothing_response, sotw_response, split
from mesh.xds.subscription import WILDCARD, Subscription
from mesh.xds.version import version_of_set

MAX_NAMES = 50_000
"""Names one stream may ask for, all types together: Istio's largest known meshes stay below."""
_MAX_UNKNOWN_TYPES = 32
_MAX_IN_FLIGHT = 16
"""Unanswered responses per type; then changes pile up into one until the client answers."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """A NACK of one resource; resource "" when the response held none."""

    kind: Kind
    resource: str
    message: str


@dataclass(frozen=True, slots=True)
class Reaction:
    """What came of one request. is_stale: its nonce was not one of ours (any more)."""

    responses: tuple[Response, ...] = ()
    refusals: tuple[Refusal, ...] = ()
    is_stale: bool = False


class AdsStream:
    """One stream. `node` is None until the first request, `node_body` its message. Concurrency: one caller at a time.

    Args: stream_id: unique; prefix of the nonces, so that one of an older stream is never mistaken for ours.
          demand: for a listener asked for by name that the snapshot does not hold: a projection for it, or None.
          admit: the node as it is to be taken; what it raises ends the stream.
    """

    def __init__(
        self,
        variant: Variant,
        stream_id: str,
        demand: Callable[[str], Bundle | None] = lambda name: None,
        hold_seconds: float = 5.0,
        admit: Callable[[Node], Node] = lambda node: node,
    ) -> None:
        self.variant = variant
        self.node: Node | None = None
        self.node_body = b""
        self._stream_id = stream_id
        self._demand = demand
        self._admit = admit
        self._bundle: Bundle | None = None
        self._demanded: dict[str, Bundle] = {}
        self._subscriptions: dict[Kind, Subscription] = {}
        self._owed: set[Ref] = set()
        self._ordering = Ordering(self._subscriptions, self._find, hold_seconds)
        self._unknown_types: dict[str, str] = {}
        self._nonces = 0

    @property
    def deadline(self) -> float:
        """When `on_time` must be called at the latest (a hold ends); inf = nothing is held."""
        return self._ordering.deadline

    @property
    def is_settled(self) -> bool:
        """Everything was sent and answered."""
        return self.deadline == float("inf") and not any(sub.in_flight for sub in self._subscriptions.values())

    def on_request(self, data: bytes, now: float) -> Reaction:
        """A request arrived.

        Raises: ProtocolError: undecodable, without node at first, or asking for too much; end the stream.
        """
        request_type = (
            discovery_pb.DeltaDiscoveryRequest if self.variant is Variant.DELTA else discovery_pb.DiscoveryRequest
        )
        try:
            request = request_type.FromString(data)
        except ProtobufError as exc:
            raise ProtocolError(f"not a {request_type.DESCRIPTOR.name}: {exc}") from exc
        if self.node is None:
            if not request.HasField("node"):
                raise ProtocolError("the first request of a stream must carry the node")
            self.node = self._admit(read_node(request.node))
            self.node_body = request.node.SerializeToString()
        kind = BY_URL.get(request.type_url)
        if kind is None:
            return Reaction(self._answer_unknown(request))
        refusals, is_stale = (self._on_delta if self.variant is Variant.DELTA else self._on_sotw)(kind, request, now)
        if sum(len(sub.names) for sub in self._subscriptions.values()) > MAX_NAMES:
            raise LimitError(f"more than {MAX_NAMES} resource names on one stream")
        if kind is Kind.LISTENER:
            self._demand_listeners()
        return Reaction(self._flush(now), refusals, is_stale)

    def on_snapshot(self, bundle: Bundle, now: float) -> tuple[Response, ...]:
        """The node's configuration changed (or is known for the first time)."""
        self._bundle = bundle
        self._owed = {ref for ref in self._owed if ref[1] in bundle.of(ref[0]) or self._is_asked_for(ref)}
        self._demanded.clear()
        self._demand_listeners()
        return self._flush(now)

    def on_time(self, now: float) -> tuple[Response, ...]:
        """`deadline` has come."""
        return self._flush(now)

    def status(self, with_bodies: bool = False) -> list[ResourceStatus]:
        """What the client has of everything that it wants, and of what it still has besides."""
        bundle = self._bundle or EMPTY_BUNDLE
        lines: list[ResourceStatus] = []
        for kind in PUSH_ORDER:
            sub = self._subscriptions.get(kind)
            if sub is None:
                lines.extend(not_sent(kind, bundle.of(kind)))
            else:
                lines.extend(resource_status(sub, self._target(sub), with_bodies))
        return lines

    # Requests

    def _on_sotw(self, kind: Kind, request: Any, now: float) -> tuple[tuple[Refusal, ...], bool]:
        names = set(request.resource_names)
        sub = self._subscriptions.get(kind)
        if sub is None:
            sub = self._subscriptions[kind] = Subscription(kind, self.variant)
            self._ask_sotw(sub, names, is_first=True)
            return (), False
        nonce = request.response_nonce
        if not nonce:
            # Who has not answered yet may not have seen our answer, and only asks for more or for less.
            if starts_over := sub.is_answered:
                sub.start_over()
            self._ask_sotw(sub, names, is_first=starts_over)
            return (), False
        is_known = nonce in sub.in_flight
        refusals = self._settle(sub, request, now)
        if nonce != sub.last_nonce:
            # Its names are of a time before our last response.
            return refusals, not is_known and not refusals
        self._ask_sotw(sub, names, is_first=False)
        return refusals, False

    def _ask_sotw(self, sub: Subscription, names: set[str], is_first: bool) -> None:
        """A SotW request repeats the whole subscription. Only the first may mean "everything" by naming nothing."""
        was_everything = sub.is_wildcard
        if not names and (is_first or was_everything):
            sub.is_wildcard = sub.kind.is_full_state
        else:
            sub.is_wildcard = WILDCARD in names
        names.discard(WILDCARD)
        if was_everything and not sub.is_wildcard:
            sub.forget([name for name in sub.sent if name not in names])
        sub.forget(sub.names - names)
        sub.names = names

    def _on_delta(self, kind: Kind, request: Any, now: float) -> tuple[tuple[Refusal, ...], bool]:
        subscribe, unsubscribe = set(request.resource_names_subscribe), set(request.resource_names_unsubscribe)
        sub = self._subscriptions.get(kind)
        is_first = sub is None
        if sub is None:
            sub = self._subscriptions[kind] = Subscription(kind, self.variant)
            sub.bring_along(request.initial_resource_versions)
            # Naming nothing means everything, for the two types that clients take whole.
            sub.is_wildcard = WILDCARD in subscribe or (not subscribe and kind.is_full_state)
        refusals: tuple[Refusal, ...] = ()
        is_stale = False
        if request.response_nonce and not is_first:
            is_known = request.response_nonce in sub.in_flight
            refusals = self._settle(sub, request, now)
            is_stale = not is_known and not refusals
        if WILDCARD in subscribe:
            sub.is_wildcard = True
        if not is_first:
            # Asked for again: the client has lost it, whatever we sent.
            self._owed.update((kind, name) for name in subscribe if name != WILDCARD)
        sub.names |= subscribe - {WILDCARD}
        self._unsubscribe(sub, unsubscribe)
        if is_first:
            # What it brought along and does not want any more is none of our business.
            sub.forget([name for name in sub.sent if not sub.covers(name)])
        return refusals, is_stale

    def _unsubscribe(self, sub: Subscription, names: set[str]) -> None:
        if WILDCARD in names and sub.is_wildcard:
            sub.is_wildcard = False
            sub.forget([name for name in sub.sent if name not in sub.names])
        names.discard(WILDCARD)
        sub.names -= names
        if sub.is_wildcard:
            # It dropped what the wildcard still covers: it must be told again (xDS, "Unsubscribing").
            self._owed.update((sub.kind, name) for name in names)
        else:
            sub.forget(names)

    def _settle(self, sub: Subscription, request: Any, now: float) -> tuple[Refusal, ...]:
        """ACK or NACK of one of our responses, if it is that."""
        nonce = request.response_nonce
        if nonce not in sub.in_flight:
            return self._settle_late(sub, request, now)
        if not request.HasField("error_detail"):
            sub.on_ack(nonce)
            return ()
        offered = [name for name, resource in sub.in_flight[nonce].items() if resource is not None]
        refused = named_in_details(request.error_detail, offered)
        if not refused:
            if len(offered) > 1 and not sub.kind.is_full_state:
                # Envoy stops at the first bad one of several endpoints or routes, and hardly ever names it.
                sub.on_vague_nack(nonce)
                return ()
            refused = named_in_message(request.error_detail, offered)
        by_name: dict[str, str] = dict(refused)
        sub.on_nack(nonce, by_name, request.error_detail.message, now)
        if not refused:
            return (Refusal(sub.kind, "", request.error_detail.message),)
        return tuple(Refusal(sub.kind, name, message) for name, message in refused)

    def _settle_late(self, sub: Subscription, request: Any, now: float) -> tuple[Refusal, ...]:
        """Our own client may find only later that it cannot use what it took (a port that is taken): it names it."""
        if not request.HasField("error_detail") or not request.response_nonce.startswith(f"{self._stream_id}-"):
            return ()
        refused = named_in_details(request.error_detail, sub.acked)
        sub.on_late_nack(refused, now)
        return tuple(Refusal(sub.kind, name, message) for name, message in refused)

    def _answer_unknown(self, request: Any) -> tuple[Response, ...]:
        """Nothing of this type exists here: say so once, so that nobody waits for it; answers to that are final."""
        url = request.type_url
        if not url:
            raise ProtocolError("a request on an aggregated stream must carry a type_url")
        is_delta = self.variant is Variant.DELTA
        names = list(request.resource_names_subscribe) if is_delta else []
        if request.response_nonce and request.response_nonce == self._unknown_types.get(url) and not names:
            return ()
        if url in self._unknown_types and not names and request.response_nonce:
            return ()
        if len(self._unknown_types) >= _MAX_UNKNOWN_TYPES and url not in self._unknown_types:
            raise LimitError(f"more than {_MAX_UNKNOWN_TYPES} resource types that are not served here")
        nonce = self._unknown_types[url] = self._next_nonce()
        return (nothing_response(self.variant, url, nonce, [name for name in names if name != WILDCARD]),)

    # Responses

    def _flush(self, now: float) -> tuple[Response, ...]:
        """Everything that may leave now."""
        if self._bundle is None:
            return ()
        responses: list[Response] = []
        self._ordering.begin()
        for known in self._subscriptions.values():
            if known.unseen:
                known.recognize(self._target(known))
        for kind in PUSH_ORDER:
            sub = self._subscriptions.get(kind)
            if sub is not None and len(sub.in_flight) < _MAX_IN_FLIGHT:
                responses.extend(self._push(sub, now))
        self._ordering.end()
        return tuple(responses)

    def _push(self, sub: Subscription, now: float) -> Iterator[Response]:
        target = self._target(sub)
        changed: dict[str, Resource | None] = {}
        is_held = False
        for name, resource in target.items():
            last = sub.sent.get(name)
            if last is None or last.version != resource.version or (sub.kind, name) in self._owed:
                if self._ordering.may_send(resource, now):
                    changed[name] = resource
                else:
                    is_held = True
        if is_held and sub.is_wildcard and not sub.is_greeted:
            # What a client begins with is whole: with some listeners missing it would think itself complete.
            return
        changed.update(self._removals(sub, target, now))
        if not changed and (sub.is_greeted or not sub.is_wildcard):
            return
        self._owed.difference_update((sub.kind, name) for name in changed)
        yield from (self._delta if self.variant is Variant.DELTA else self._sotw)(sub, target, changed, now)
        self._owe_dependents(changed.values())

    def _removals(self, sub: Subscription, target: Mapping[str, Resource], now: float) -> Iterator[tuple[str, None]]:
        """Names that the client is to drop, or (delta) to be told that they do not exist."""
        for name, resource in sub.sent.items():
            gone = resource is not None and name not in target
            if gone and self._ordering.may_remove((sub.kind, name), now):
                yield name, None
        if self.variant is Variant.DELTA:
            for name in sub.names:
                is_asked = name not in sub.sent or (sub.kind, name) in self._owed
                if name not in target and is_asked:
                    yield name, None

    def _delta(
        self, sub: Subscription, target: Mapping[str, Resource], changed: Contents, now: float
    ) -> Iterator[Response]:
        system_version = version_of_set(target.values())
        for part in split(changed, frozenset(sub.alone)):
            nonce = self._next_nonce()
            sub.on_sent(nonce, part, now)
            yield delta_response(sub.kind, part, nonce, system_version)

    def _sotw(
        self, sub: Subscription, _target: Mapping[str, Resource], changed: Contents, now: float
    ) -> Iterator[Response]:
        """Full-state types repeat what the client has; of the others, what is left out simply stays as it is."""
        parts: Iterable[Contents] = ({**sub.sent, **changed},)
        if not sub.kind.is_full_state:
            # Nothing to say "gone" with; the client drops endpoints and routes by itself.
            sub.forget_sent(name for name, resource in changed.items() if resource is None)
            present = {name: resource for name, resource in changed.items() if resource is not None}
            parts = split(present, frozenset(sub.alone)) if present else ()
        for part in parts:
            nonce = self._next_nonce()
            sub.on_sent(nonce, part, now)
            yield sotw_response(sub.kind, part, nonce)

    def _owe_dependents(self, resources: Iterable[Resource | None]) -> None:
        """Clusters' endpoints and listeners' routes: the client may warm them anew and wait for these."""
        for resource in resources:
            if resource is not None:
                self._owed.update(ref for ref in resource.refs if ref[0] in (Kind.ENDPOINT, Kind.ROUTE))

    # What there is

    def _target(self, sub: Subscription) -> Mapping[str, Resource]:
        """What the client is to end up with of this type."""
        bundle = self._bundle or EMPTY_BUNDLE
        everything = bundle.of(sub.kind)
        if sub.is_wildcard and not sub.names:
            return everything
        wanted = dict(everything) if sub.is_wildcard else {}
        for name in sub.names:
            resource = self._find(sub.kind, name)
            if resource is not None:
                wanted[name] = resource
        return wanted

    def _find(self, kind: Kind, name: str) -> Resource | None:
        bundle = self._bundle or EMPTY_BUNDLE
        resource = bundle.of(kind).get(name)
        if resource is not None:
            return resource
        for demanded in self._demanded.values():
            resource = demanded.of(kind).get(name)
            if resource is not None:
                return resource
        return None

    def _is_asked_for(self, ref: Ref) -> bool:
        sub = self._subscriptions.get(ref[0])
        return sub is not None and ref[1] in sub.names

    def _demand_listeners(self) -> None:
        """Named listeners that the snapshot lacks are made for whoever asks (proxyless gRPC)."""
        sub = self._subscriptions.get(Kind.LISTENER)
        if sub is None or self._bundle is None:
            return
        for gone in self._demanded.keys() - sub.names:
            del self._demanded[gone]
        for name in sub.names - self._demanded.keys():
            if name not in self._bundle.of(Kind.LISTENER):
                bundle = self._demand(name)
                if bundle is not None:
                    self._demanded[name] = bundle

    def _next_nonce(self) -> str:
        self._nonces += 1
        return f"{self._stream_id}-{self._nonces}"
