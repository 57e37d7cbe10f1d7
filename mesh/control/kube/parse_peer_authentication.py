"""PeerAuthentication → which connections the proxies of some pods take: mesh TLS, plaintext, or both."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from mesh.control.kube.fields import FieldError, Fields, Reader
from mesh.control.kube.objects import Meta
from mesh.control.kube.parse_core import meta
from mesh.model.inert import SECURITY
from mesh.model.origin import Problem

KIND = "PeerAuthentication"


class PeerMode(Enum):
    """UNSET: as the next wider policy has it. PERMISSIVE: mesh TLS and plaintext on the same port."""

    UNSET = "UNSET"
    DISABLE = "DISABLE"
    PERMISSIVE = "PERMISSIVE"
    STRICT = "STRICT"


@dataclass(frozen=True, slots=True)
class PeerAuthentication:
    """selector: {} = the whole namespace, in the root namespace the whole mesh. ports: of the pods, not of Services.

    is_broken: nobody can tell which pods it means, so it means none.
    """

    meta: Meta
    selector: Mapping[str, str] = field(default_factory=dict)
    mode: PeerMode = PeerMode.UNSET
    ports: Mapping[int, PeerMode] = field(default_factory=dict)
    is_broken: bool = False
    problems: tuple[Problem, ...] = ()


def peer_authentication(item: Mapping[str, Any]) -> PeerAuthentication:
    head = meta(item, KIND, SECURITY)
    reader = Reader(head.ref)
    spec = reader.attempt(lambda: Fields(item.get("spec") or {}, "spec", reader))
    selector = reader.attempt(lambda: _selector(spec)) if spec is not None else None
    if spec is None or selector is None:
        return PeerAuthentication(head, is_broken=True, problems=tuple(reader.problems))
    mode = reader.attempt(lambda: _mode(spec.object("mtls"))) or PeerMode.UNSET
    ports = reader.attempt(lambda: _ports(spec)) or {}
    if ports and not selector:
        reader.error(spec.at("portLevelMtls"), "needs a selector: the ports are those of workloads", "Invalid")
        ports = {}
    spec.close()
    return PeerAuthentication(head, selector, mode, ports, problems=tuple(reader.problems))


def _selector(spec: Fields) -> dict[str, str]:
    item = spec.object("selector")
    if item is None:
        return {}
    labels = item.text_map("matchLabels")
    item.close()
    return labels


def _mode(item: Fields | None) -> PeerMode:
    if item is None:
        return PeerMode.UNSET
    mode = item.one_of("mode", {mode.value: mode for mode in PeerMode}, PeerMode.UNSET)
    item.close()
    return mode


def _ports(spec: Fields) -> dict[int, PeerMode]:
    found: dict[int, PeerMode] = {}
    value = spec.raw("portLevelMtls")
    if value is None:
        return found
    if not isinstance(value, Mapping):
        raise FieldError(spec.at("portLevelMtls"), "must be an object of port numbers")
    for key, entry in value.items():
        path = f"{spec.at('portLevelMtls')}[{key}]"
        text = str(key)
        if not (text.isascii() and text.isdigit()) or not 0 < int(text) < 65536:
            spec.reader.error(path, f"must be a port within 1..65535, is {text!r}", "OutOfRange")
            continue
        try:
            found[int(text)] = _mode(Fields({} if entry is None else entry, path, spec.reader))
        except FieldError as error:
            spec.reader.note(error)
    return dict(sorted(found.items()))
