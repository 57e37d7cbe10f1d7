"""Status: every refusal the API gives, as one exception that renders to `meta.v1.Status`.

Reasons, codes and the shape of `details` follow the API conventions ("Response Status Kind"): clients branch on `reason`, so
each constructor here is one reason.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple


class Cause(NamedTuple):
    """One reason of an `Invalid`: `reason` such as FieldValueRequired, the dotted field path, and the sentence."""

    reason: str
    field: str
    message: str


@dataclass
class ApiError(Exception):
    """A refusal with the HTTP status `code` and the machine-readable `reason`."""

    code: int
    reason: str
    message: str
    group: str = ""
    kind: str = ""
    name: str = ""
    uid: str = ""
    causes: tuple[Cause, ...] = ()
    retry_after_seconds: int = 0
    has_details: bool = False  # `details` even when there is nothing to say in it

    def __str__(self) -> str:
        return self.message

    def body(self) -> dict[str, Any]:
        """The `Status` object."""
        details: dict[str, Any] = {}
        for key, value in (("name", self.name), ("group", self.group), ("kind", self.kind), ("uid", self.uid)):
            if value:
                details[key] = value
        if self.causes:
            details["causes"] = [{"reason": c.reason, "message": c.message, "field": c.field} for c in self.causes]
        if self.retry_after_seconds:
            details["retryAfterSeconds"] = self.retry_after_seconds
        status: dict[str, Any] = {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "message": self.message}
        if self.reason:
            status["reason"] = self.reason
        if details or self.has_details:
            status["details"] = details
        return {**status, "code": self.code}


def bad_request(message: str) -> ApiError:
    """400: the request cannot be understood, whatever the state of the cluster."""
    return ApiError(400, "BadRequest", message)


def unauthorized(message: str = "Unauthorized") -> ApiError:
    """401: who are you?"""
    return ApiError(401, "Unauthorized", message)


def forbidden(message: str, group: str = "", kind: str = "", name: str = "") -> ApiError:
    """403: known, but not allowed (RBAC, admission)."""
    return ApiError(403, "Forbidden", message, group, kind, name)


def not_found(group: str, plural: str, name: str) -> ApiError:
    """404 for an object. `plural` is the resource name, as real servers put it into `details.kind`."""
    return ApiError(404, "NotFound", f'{qualified(group, plural)} "{name}" not found', group, plural, name)


def no_such_resource() -> ApiError:
    """404 for a path that no resource answers."""
    return ApiError(404, "NotFound", "the server could not find the requested resource", has_details=True)


def bad_patch(why: object) -> ApiError:
    """422: a patch that does not apply. Real servers keep to themselves why."""
    return ApiError(422, "Invalid", f"the server rejected our request due to an error in our request: {why}", has_details=True)


def method_not_allowed(what: str) -> ApiError:
    """405: the resource exists and does not do this."""
    return ApiError(405, "MethodNotAllowed", f"{what}: the server does not allow this method on the requested resource")


def not_acceptable(accepted: str) -> ApiError:
    """406: none of the client's media types is one that we write."""
    return ApiError(406, "NotAcceptable", f"only the following media types are accepted: {accepted}")


def unsupported_media_type(accepted: str) -> ApiError:
    """415: the body is in a type that we do not read."""
    return ApiError(415, "UnsupportedMediaType", f"the body of the request was in an unknown format - accepted media types include: {accepted}")


def already_exists(group: str, plural: str, name: str) -> ApiError:
    """409 on create."""
    return ApiError(409, "AlreadyExists", f'{qualified(group, plural)} "{name}" already exists', group, plural, name)


def conflict(group: str, plural: str, name: str, message: str) -> ApiError:
    """409 on update: stale resourceVersion, wrong uid."""
    return ApiError(409, "Conflict", f'Operation cannot be fulfilled on {qualified(group, plural)} "{name}": {message}', group, plural, name)


def apply_conflict(message: str, causes: tuple[Cause, ...]) -> ApiError:
    """409 on server-side apply, with one cause per field that another manager owns."""
    return ApiError(409, "Conflict", message, causes=causes)


STALE = "the object has been modified; please apply your changes to the latest version and try again"


def invalid(group: str, kind: str, name: str, causes: list[Cause] | tuple[Cause, ...]) -> ApiError:
    """422 with one cause per wrong field, and all of them in the sentence."""
    lines = [f"{c.field}: {c.message}" if c.field and c.field != "<nil>" else c.message for c in causes]
    text = lines[0] if len(lines) == 1 else "[" + ", ".join(lines) + "]"
    return ApiError(422, "Invalid", f'{qualified(group, kind)} "{name}" is invalid: {text}', group, kind, name, causes=tuple(causes))


def expired(message: str) -> ApiError:
    """410: the revision asked for was compacted; list again."""
    return ApiError(410, "Expired", message)


def too_many_requests(message: str, retry_after_seconds: int, causes: tuple[Cause, ...] = ()) -> ApiError:
    """429, as an eviction that a PodDisruptionBudget forbids is answered."""
    return ApiError(429, "TooManyRequests", message, causes=causes, retry_after_seconds=retry_after_seconds)


def internal(message: str) -> ApiError:
    """500: our fault, or a webhook's that must not be ignored."""
    return ApiError(500, "InternalError", f"Internal error occurred: {message}")


def not_implemented(message: str) -> ApiError:
    """501: a part of Kubernetes that the sandbox does not have."""
    return ApiError(501, "NotImplemented", message)


def unavailable(message: str) -> ApiError:
    """503: what we need to answer (kubelet, pod, webhook) is not there now."""
    return ApiError(503, "ServiceUnavailable", message)


def future_revision(asked: int, current: int) -> ApiError:
    """504: the client knows a revision that we have not reached."""
    cause = Cause("ResourceVersionTooLarge", "", "Too large resource version")
    return ApiError(504, "Timeout", f"Too large resource version: {asked}, current: {current}", causes=(cause,), retry_after_seconds=1)


def qualified(group: str, name: str) -> str:
    """`deployments.apps`, `pods`."""
    return f"{name}.{group}" if group else name
