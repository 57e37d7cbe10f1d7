"""meshctl traces: a request's way through the mesh, from the sandbox's own collector or any Jaeger query API."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated, Any, cast

import typer

from mesh.cli.failure import CommandError
from mesh.cli.install import SYSTEM_NAMESPACE
from mesh.cli.kube import Kube, KubeError
from mesh.cli.options import Format, Kubeconfig, Output, connect
from mesh.cli.output import document, show

COLLECTOR = "triomesh-collector:16686"


@dataclass(frozen=True, slots=True)
class Span:
    """One span of a Jaeger-shaped trace. Times in microseconds; start since the epoch."""

    id: str
    parent: str
    service: str
    name: str
    start: int
    duration: int
    tags: Mapping[str, Any]


def query(kube: Kube, path: str, parameters: Mapping[str, str] | None = None) -> Any:
    """GET of the collector's API, through the API server's service proxy."""
    root = f"/api/v1/namespaces/{SYSTEM_NAMESPACE}/services/{COLLECTOR}/proxy"
    return json.loads(kube.call("GET", root + path, parameters))["data"]


def fetch(kube: Kube, trace_id: str) -> list[dict[str, Any]]:
    """One trace, as a list of one; [] when the collector does not have it."""
    try:
        return cast(list[dict[str, Any]], query(kube, f"/api/traces/{trace_id}"))
    except KubeError as exc:
        if exc.code == 404 and exc.reason != "NotFound":
            return []
        raise


def spans(trace: Mapping[str, Any]) -> list[Span]:
    """The spans of one Jaeger-shaped trace, oldest first."""
    found = []
    for span in trace["spans"]:
        parent = next((ref["spanID"] for ref in span.get("references", []) if ref["refType"] == "CHILD_OF"), "")
        service = trace["processes"][span["processID"]]["serviceName"]
        tags = {tag["key"]: tag["value"] for tag in span.get("tags", [])}
        found.append(Span(span["spanID"], parent, service, span["operationName"], int(span["startTime"]), int(span["duration"]), tags))
    return sorted(found, key=lambda span: (span.start, -span.duration))


def roots(found: Sequence[Span]) -> list[Span]:
    """Spans whose parent is not part of the trace. A whole tree has one."""
    known = {span.id for span in found}
    return [span for span in found if span.parent not in known]


def tree(found: Sequence[Span]) -> Iterator[str]:
    """The trace as an indented tree, one line a span."""

    def walk(span: Span, lead: str, branch: str, below: str) -> Iterator[str]:
        yield lead + branch + _line(span)
        children = [child for child in found if child.parent == span.id]
        for index, child in enumerate(children):
            is_last = index == len(children) - 1
            yield from walk(child, lead + below, "└─ " if is_last else "├─ ", "   " if is_last else "│  ")

    for root in roots(found):
        yield from walk(root, "", "", "")


def _line(span: Span) -> str:
    kind = str(span.tags.get("span.kind", "")).upper()
    status = span.tags.get("http.status_code", span.tags.get("http.response.status_code", ""))
    flags = span.tags.get("response_flags", "-")
    notes = [str(part) for part in (kind, span.name, status, "" if flags == "-" else flags, f"{span.duration / 1000:.1f} ms") if part != ""]
    return f"{span.service}  {' '.join(notes)}"


def traces(
    trace_id: Annotated[str | None, typer.Argument(metavar="[TRACE_ID]", help="Show this trace as a tree; without it, list the newest ones.")] = None,
    service: Annotated[str | None, typer.Option("--service", help="Only traces that this service took part in, e.g. productpage.default.")] = None,
    limit: Annotated[int, typer.Option("--limit", min=1, max=1000, help="How many traces to list.")] = 20,
    tree_of_newest: Annotated[bool, typer.Option("--last", help="Show the newest trace as a tree.")] = False,
    kubeconfig: Kubeconfig = None,
    output: Output = Format.table,
) -> None:
    """Traces of requests: a list, or one request's tree with every hop."""
    kube = connect(kubeconfig)
    if trace_id is not None:
        return _show_tree(fetch(kube, trace_id), output, trace_id)
    parameters = {"limit": str(1 if tree_of_newest else limit)} | ({"service": service} if service else {})
    found = query(kube, "/api/traces", parameters)
    if tree_of_newest:
        return _show_tree(found, output, "the newest")
    if output is not Format.table:
        return document(found, output)
    show([_summary(trace) for trace in found], [("id", "TRACE"), ("time", "TIME"), ("ms", "MS"), ("spans", "SPANS"), ("status", "STATUS"), ("root", "REQUEST")], output, "no traces yet")


def _show_tree(found: list[dict[str, Any]], output: Format, wanted: str) -> None:
    if not found:
        raise CommandError(f"no trace {wanted}: it was not sampled, or is no longer kept")
    if output is not Format.table:
        return document(found, output)
    for trace in found:
        print(f"trace {trace['traceID']}")
        print("\n".join(tree(spans(trace))))


def _summary(trace: Mapping[str, Any]) -> dict[str, Any]:
    found = spans(trace)
    first = roots(found)[0]
    return {
        "id": trace["traceID"],
        "time": datetime.fromtimestamp(first.start / 1e6, UTC).strftime("%H:%M:%S.%f")[:-3],
        "ms": (max(span.start + span.duration for span in found) - first.start) / 1000,
        "spans": len(found),
        "status": first.tags.get("http.status_code", first.tags.get("http.response.status_code")),
        "root": f"{first.service} {first.tags.get('http.method', first.tags.get('http.request.method', ''))} {first.tags.get('http.url', first.tags.get('url.path', first.name))}",
    }
