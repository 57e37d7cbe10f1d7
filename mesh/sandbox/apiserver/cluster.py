"""The cluster a handler works on, and one call to it. Only `main` builds a `Cluster`."""

from __future__ import annotations

import json
import random
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime

from mesh.sandbox.apiserver import status
from mesh.sandbox.apiserver.admission import Admission
from mesh.sandbox.apiserver.authn import Authenticator, User
from mesh.sandbox.apiserver.http import Request
from mesh.sandbox.apiserver.network import Network
from mesh.sandbox.apiserver.objects import Stamp
from mesh.sandbox.apiserver.paths import Target
from mesh.sandbox.apiserver.rbac import Authorizer
from mesh.sandbox.apiserver.registry import Registry, Resource
from mesh.sandbox.apiserver.storage import Key, Store
from mesh.sandbox.apiserver.tokens import TokenSigner
from mesh.sandbox.apiserver.watch import Hub


@dataclass(slots=True)
class Cluster:
    """Everything that outlives a request."""

    store: Store
    hub: Hub
    registry: Registry
    signer: TokenSigner
    authenticator: Authenticator
    authorizer: Authorizer
    admission: Admission
    network: Network
    clock: Callable[[], datetime]
    rng: random.Random

    def stamp(self) -> Stamp:
        """Time, uid and random source for one write."""
        return Stamp(self.clock(), str(uuid.uuid4()), self.rng)


@dataclass(slots=True)
class Call:
    """One authorized resource request. `warnings` become Warning headers."""

    request: Request
    user: User
    target: Target
    verb: str
    resource: Resource
    warnings: list[str] = field(default_factory=list)
    is_name_generated: bool = False

    @property
    def key(self) -> Key:
        """Where the named object lives."""
        return Key(self.resource.key, self.target.namespace, self.target.name)

    @property
    def dry_run(self) -> bool:
        """`dryRun=All`. Raises: ApiError 422: another value."""
        values = self.request.query.get("dryRun", [])
        if any(value != "All" for value in values):
            shown = json.dumps(values, separators=(",", ":"))
            cause = status.Cause("FieldValueNotSupported", "dryRun", f'Unsupported value: {shown}: supported values: "All"')
            kind = {"create": "CreateOptions", "patch": "PatchOptions", "update": "UpdateOptions"}.get(self.verb, "DeleteOptions")
            raise status.invalid("meta.k8s.io", kind, "", [cause])
        return bool(values)

    @property
    def manager(self) -> str:
        """Who managedFields will name: `fieldManager`, else the user agent up to its version."""
        manager = self.request.arg("fieldManager")
        if len(manager) > 128 or not manager.isprintable():
            raise status.bad_request("fieldManager must be at most 128 printable characters")
        return manager or self.request.headers.get("user-agent", "").partition("/")[0][:128] or "unknown"

    def not_found(self) -> status.ApiError:
        """404 for the named object."""
        return status.not_found(self.resource.group, self.resource.plural, self.target.name)
