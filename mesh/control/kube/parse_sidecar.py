"""Sidecar → which services the proxies of some pods are told of. Its other parts have no effect and say so."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from mesh.control.kube import istio
from mesh.control.kube.fields import FieldError, Fields, Reader
from mesh.control.kube.objects import Meta
from mesh.control.kube.parse_core import meta
from mesh.model.origin import Problem


@dataclass(frozen=True, slots=True)
class EgressHost:
    """`ns/host`. namespace: a name, `*` for any, `.` for that of the pod, `~` for none. host: exact, `*.x` or `*`."""

    namespace: str
    host: str


@dataclass(frozen=True, slots=True)
class Sidecar:
    """selector: {} = every pod of the namespace, in the root namespace of every namespace without one of its own.

    egress: None = everything is visible. registry_only: None = as the mesh has it.
    """

    meta: Meta
    selector: Mapping[str, str] = field(default_factory=dict)
    egress: tuple[EgressHost, ...] | None = None
    registry_only: bool | None = None
    problems: tuple[Problem, ...] = ()


def sidecar(item: Mapping[str, Any]) -> Sidecar:
    head = meta(item, "Sidecar", istio.GROUP)
    reader = Reader(head.ref)
    parsed = reader.attempt(lambda: _sidecar(Fields(item.get("spec") or {}, "spec", reader)))
    # What cannot be read limits nobody: a proxy that knows too much still works.
    selector, egress, registry_only = parsed or ({}, None, None)
    return Sidecar(head, selector, egress, registry_only, tuple(reader.problems))


def _sidecar(spec: Fields) -> tuple[dict[str, str], tuple[EgressHost, ...] | None, bool | None]:
    reader = spec.reader
    workloads = spec.object("workloadSelector")
    selector = workloads.text_map("labels") if workloads is not None else {}
    found: list[EgressHost] = []
    has_any = False
    for listener in spec.objects("egress"):
        has_any = True
        for index, text in enumerate(listener.texts("hosts")):
            host = reader.attempt(lambda text=text, index=index, at=listener: _host(text, f"{at.at('hosts')}[{index}]"))  # type: ignore[misc]
            if host is not None:
                found.append(host)
        # port, bind and captureMode would make a listener of its own: its hosts are visible on all their ports instead.
        listener.close()
    policy = spec.object("outboundTrafficPolicy")
    registry_only = None
    if policy is not None:
        registry_only = policy.one_of("mode", {"ALLOW_ANY": False, "REGISTRY_ONLY": True}, None)
        policy.close()
    spec.close()
    return selector, tuple(found) if has_any and (found or not reader.problems) else None, registry_only


def _host(text: str, path: str) -> EgressHost:
    namespace, slash, host = text.partition("/")
    if not slash or not namespace or not host:
        raise FieldError(path, f"must be namespace/host such as ./* or istio-system/*, is {text!r}")
    if "*" in host.removeprefix("*.") and host != "*":
        raise FieldError(path, f"a wildcard stands for whole labels on the left, as in *.example.com, not {host!r}")
    return EgressHost(namespace, host.lower())
