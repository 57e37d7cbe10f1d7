"""Rules: the common form of VirtualService and HTTPRoute rules, before hosts become clusters."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from mesh.control.kube.objects import Meta
from mesh.model.match import RouteMatch
from mesh.model.route import (
    NO_MUTATION,
    CorsPolicy,
    DirectResponse,
    Fault,
    HeaderMutation,
    PathRewrite,
    RedirectAction,
    RetryPolicy,
)

ANYTHING = RouteMatch()


@dataclass(frozen=True, slots=True)
class Backend:
    """Where a share of the traffic goes. host: a fully qualified name. port None: the service's only port or the listener's.

    kind, namespace, name: as an HTTPRoute names it (for ReferenceGrant and messages). invalid: a reason that makes
    this share answer 500, e.g. `InvalidKind`.
    """

    host: str
    port: int | None = None
    subset: str = ""
    weight: int = 1
    request_headers: HeaderMutation = NO_MUTATION
    response_headers: HeaderMutation = NO_MUTATION
    field: str = ""
    namespace: str = ""
    name: str = ""
    invalid: str = ""


@dataclass(frozen=True, slots=True)
class Where:
    """Whose traffic a match speaks of. gateways: `ns/name` and `mesh`, None = those of the whole object."""

    gateways: frozenset[str] | None = None
    port: int | None = None
    source_labels: Mapping[str, str] = field(default_factory=dict)
    source_namespace: str = ""


ANYWHERE = Where()


@dataclass(frozen=True, slots=True)
class RuleMatch:
    match: RouteMatch = ANYTHING
    where: Where = ANYWHERE


@dataclass(frozen=True, slots=True)
class MirrorTo:
    backend: Backend
    percent: float = 100.0


@dataclass(frozen=True, slots=True)
class HttpRule:
    """One rule. Matches are ORed; () never matches (all of them were bad). Exactly one of backends, redirect, direct acts.

    rewrite: a function of the match for Istio's and Gateway API's prefix rewrites is applied at parse time, so that
    `rewrites[i]` belongs to `matches[i]` (None = keep the path).
    retry None = the mesh's default policy; attempts 0 switches retries off.
    """

    path: str
    matches: tuple[RuleMatch, ...]
    name: str = ""
    backends: tuple[Backend, ...] = ()
    redirects: tuple[RedirectAction, ...] = ()
    direct: DirectResponse | None = None
    rewrites: tuple[PathRewrite | None, ...] = ()
    host_rewrite: str | None = None
    timeout_seconds: float = 0.0
    per_try_timeout_seconds: float | None = None
    retry: RetryPolicy | None = None
    fault: Fault | None = None
    cors: CorsPolicy | None = None
    mirrors: tuple[MirrorTo, ...] = ()
    request_headers: HeaderMutation = NO_MUTATION
    response_headers: HeaderMutation = NO_MUTATION
    delegate: tuple[str, str] | None = None
    """(namespace, name) of the VirtualService whose rules take this one's place."""
    owner: Meta | None = None
    """The object that the rule was written in, when that is not the one it is carried out for (a delegate)."""
    broken: str = ""
    """A rule whose filters cannot be carried out answers 500 for this reason instead of being skipped (Gateway API)."""
