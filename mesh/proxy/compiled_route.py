# cython: language_level=3
"""Compiled route: one route of the configuration, ready to be applied: what it matches, and what becomes of what matches."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from enum import Enum
from itertools import accumulate
from typing import assert_never

from mesh.model.origin import Origin
from mesh.model.route import DirectResponse, ForwardAction, NonForwarding, RedirectAction, Route
from mesh.proxy.balance.hash_key import CompiledHash
from mesh.proxy.cors import CompiledCors, compile_cors
from mesh.proxy.edits import Edits, compile_edits
from mesh.proxy.faults import CompiledFault, compile_fault
from mesh.proxy.head import Head
from mesh.proxy.match import BytesTest, CompileError, HeadTest, describe_path, path_test, request_tests
from mesh.proxy.reply import LocalReply
from mesh.proxy.retry import CompiledRetry, compile_retry
from mesh.proxy.rewrite import PathChange, compile_location, compile_path_rewrite, own_url, query_of, target_text


class ActionKind(Enum):
    FORWARD = "forward"
    REDIRECT = "redirect"
    DIRECT = "direct"
    NON_FORWARDING = "non_forwarding"


@dataclass(frozen=True, slots=True, eq=False)
class Share:
    """One weighted target. The edits are the share's and the route's together. Compared by identity (a key of series)."""

    cluster: str
    weight: int
    request_edits: Edits
    response_edits: Edits


@dataclass(frozen=True, slots=True)
class CompiledMirror:
    cluster: str
    share: float

    def is_drawn(self, rng: Callable[[], float]) -> bool:
        return rng() < self.share


class CompiledRoute:
    """One route, ready to be applied.

    timeout_seconds: 0.0 = none. idle_timeout_seconds: None = the listener's. host_rewrite: the new Host.
    direct: the answer of a REDIRECT or DIRECT route, but for its Location. has_filters: `filters.before_forward` has something to say.
    response_edits: of routes that are not forwarded (a share has its own).
    origin_text: `VirtualService/default/reviews http[0]`, for logs and spans.
    """

    source: Route
    order: int
    virtual_host: str
    name: str
    origin: Origin | None
    origin_text: str
    origin_generation: str
    operation: str
    path_text: str
    kind: ActionKind
    fault: CompiledFault | None
    cors: CompiledCors | None
    has_filters: bool
    response_edits: Edits
    shares: tuple[Share, ...]
    timeout_seconds: float
    idle_timeout_seconds: float | None
    retry: CompiledRetry | None
    hash: CompiledHash | None
    mirrors: tuple[CompiledMirror, ...]
    host_rewrite: bytes | None
    auto_host_rewrite: bool
    missing_cluster_status: int
    direct: LocalReply | None
    _path_test: BytesTest | None
    _tests: tuple[tuple[str, HeadTest], ...]
    _bounds: tuple[int, ...]
    _total: int
    _path_change: PathChange | None
    _location: Callable[[Head, bytes], bytes] | None

    def __init__(self, route: Route, order: int, virtual_host: str, field: str) -> None:
        self.source = route
        self.order = order
        self.virtual_host = virtual_host
        self.name = route.name
        self.origin = route.origin
        self.origin_text = str(route.origin) if route.origin is not None else ""
        self.origin_generation = str(route.origin.generation) if route.origin is not None and route.origin.generation else ""
        self.operation = route.operation
        self.path_text = describe_path(route.match.path)
        self._path_test = path_test(route.match.path, f"{field} path")
        self._tests = request_tests(route.match, field)
        self.fault = compile_fault(route.fault, f"{field} fault") if route.fault else None
        self.cors = compile_cors(route.cors, f"{field} cors") if route.cors else None
        self.has_filters = self.fault is not None or self.cors is not None
        self.response_edits = compile_edits((route.response_headers,), f"{field} response headers")
        self.shares = ()
        self._bounds = ()
        self._total = 0
        self.timeout_seconds = 0.0
        self.idle_timeout_seconds = None
        self.retry = None
        self.hash = None
        self.mirrors = ()
        self.host_rewrite = None
        self.auto_host_rewrite = False
        self.missing_cluster_status = 503
        self.direct = None
        self._path_change = None
        self._location = None
        action = route.action
        match action:
            case ForwardAction():
                self.kind = ActionKind.FORWARD
                self._forward(action, route, field)
            case RedirectAction():
                self.kind = ActionKind.REDIRECT
                self.direct = LocalReply(action.status, details="direct_response")
                self._location = compile_location(action, route.match.path, f"{field} redirect")
            case DirectResponse():
                self.kind = ActionKind.DIRECT
                if not 200 <= action.status <= 599:
                    raise CompileError(f"{field}: direct response status {action.status} is not between 200 and 599")
                self.direct = LocalReply(action.status, action.body, details="direct_response")
                if action.status == 201 or 300 <= action.status <= 399:
                    self._location = own_url  # Envoy; RFC 9110 15.3.2: without a Location that is what 201 means, too
            case NonForwarding():
                self.kind = ActionKind.NON_FORWARDING
            case _:
                assert_never(action)

    def _forward(self, action: ForwardAction, route: Route, field: str) -> None:
        targets = [target for target in action.clusters if target.weight > 0]
        if any(target.weight < 0 for target in action.clusters):
            raise CompileError(f"{field}: a weight is negative")
        if not targets:
            raise CompileError(f"{field}: no cluster has a weight above 0")
        self.shares = tuple(
            Share(
                target.name,
                target.weight,
                compile_edits((target.request_headers, route.request_headers), f"{field} request headers"),
                compile_edits((target.response_headers, route.response_headers), f"{field} response headers"),
            )
            for target in targets
        )
        self._bounds = tuple(accumulate(share.weight for share in self.shares))
        self._total = self._bounds[-1]
        self.timeout_seconds = action.timeout_seconds
        self.idle_timeout_seconds = action.idle_timeout_seconds
        self.retry = compile_retry(action.retry, f"{field} retry") if action.retry else None
        self.hash = CompiledHash(action.hash_policies, f"{field} hash policy") if action.hash_policies else None
        self.mirrors = tuple(
            CompiledMirror(mirror.cluster, mirror.percent / 100.0) for mirror in action.mirrors if mirror.percent > 0
        )
        self.host_rewrite = target_text(action.host_rewrite, f"{field} host rewrite") if action.host_rewrite else None
        self.auto_host_rewrite = action.auto_host_rewrite
        self.missing_cluster_status = action.missing_cluster_status
        if action.path_rewrite is not None:
            self._path_change = compile_path_rewrite(action.path_rewrite, route.match.path, f"{field} rewrite")

    @property
    def matches_every_path(self) -> bool:
        return self._path_test is None

    def matches(self, head: Head) -> bool:
        """All predicates hold."""
        test = self._path_test
        if test is not None and not test(head.path):
            return False
        for _, check in self._tests:  # noqa: SIM110 (a generator costs more than the tests themselves)
            if not check(head):
                return False
        return True

    def failed_predicate(self, head: Head) -> str | None:
        """The first predicate that does not hold, in words; None when the route matches."""
        test = self._path_test
        if test is not None and not test(head.path):
            return self.path_text
        return next((text for text, check in self._tests if not check(head)), None)

    def pick(self, rng: Callable[[], float]) -> Share:
        """The share for one request, in proportion to the weights. rng: uniform in [0, 1)."""
        shares = self.shares
        if len(shares) == 1:
            return shares[0]
        point = rng() * self._total
        for share, bound in zip(shares, self._bounds):
            if point < bound:
                return share
        return shares[-1]

    def rewritten_target(self, head: Head) -> bytes | None:
        """Path and query to send upstream; None: as the client sent them."""
        if self._path_change is None:
            return None
        return self._path_change(head.path) + query_of(head.target)

    def answer(self, head: Head, scheme: bytes) -> LocalReply | None:
        """The answer of a REDIRECT or DIRECT route, else None. scheme: the request's, b"http" or b"https"."""
        if self.direct is None or self._location is None:
            return self.direct
        return replace(self.direct, headers=b"location: %b\r\n" % self._location(head, scheme))

    def __repr__(self) -> str:
        return f"CompiledRoute({self.virtual_host}[{self.order}] {self.name or self.origin_text})"
