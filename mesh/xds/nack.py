"""NACKs: which resources of a response a client refused, written and read."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from typing import Any

from mesh.xds.error import DecodeError

_INVALID_ARGUMENT = 3
"""google.rpc.Code."""
_MAX_MESSAGE = 4096
_MAX_DETAILS = 100


def write_nack(status: Any, errors: Sequence[DecodeError]) -> None:
    """Fill a `google.rpc.Status`: a readable message, and one `BadRequest.FieldViolation` per resource.

    The violation's field is the resource's name, "\\0" and the path inside it, so that nobody has to parse prose.
    """
    from google.rpc import error_details_pb2

    status.code = _INVALID_ARGUMENT
    status.message = "; ".join(map(str, errors))[:_MAX_MESSAGE]
    details = error_details_pb2.BadRequest()
    for error in errors[:_MAX_DETAILS]:
        details.field_violations.add(field=f"{error.resource}\0{error.field}", description=error.message)
    status.details.add().Pack(details)


def named_in_details(status: Any, offered: Collection[str]) -> list[tuple[str, str]]:
    """(resource, message) for each of `offered` that our own client's details name: the rest was surely taken."""
    return [(name, message) for name, message in _from_details(status) if name in offered]


def named_in_message(status: Any, offered: Collection[str]) -> list[tuple[str, str]]:
    """(resource, message) by the names in the message ("Error adding/updating cluster(s) a: …"), else for all.

    A name counts only as a whole: `a|b` does not also accuse `a`, nor "cluster" a cluster named `c`.
    """
    names = [name for name in sorted(offered) if name and _occurs(name, status.message)]
    return [(name, status.message) for name in names or sorted(offered)]


def _occurs(name: str, text: str) -> bool:
    return re.search(rf"(?<![\w|.-]){re.escape(name)}(?![\w|-]|\.\w)", text) is not None


def _from_details(status: Any) -> list[tuple[str, str]]:
    if not status.details:
        return []
    from google.rpc import error_details_pb2

    found: dict[str, str] = {}
    for packed in status.details:
        details = error_details_pb2.BadRequest()
        if packed.Is(details.DESCRIPTOR) and packed.Unpack(details):
            for violation in details.field_violations:
                resource, _, path = violation.field.partition("\0")
                text = f"{path}: {violation.description}" if path else violation.description
                found[resource] = f"{found[resource]}; {text}" if resource in found else text
    return list(found.items())
