"""Label and field selectors: text → predicate on an object. Pure."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from mesh.sandbox.apiserver import status
from mesh.sandbox.apiserver.registry import Resource, dig
from mesh.sandbox.labels import meets

Predicate = Callable[[Mapping[str, Any]], bool]
Labels = Mapping[str, str]

SET_TERM = re.compile(r"^\s*(?P<key>[^\s!=,()<>]+)\s+(?P<op>in|notin)\s*\((?P<values>[^()]*)\)\s*$")
EQ_TERM = re.compile(r"^\s*(?P<key>[^\s!=,()<>]+)\s*(?P<op>==|!=|=)\s*(?P<value>[^\s,()=!<>]*)\s*$")
ORDER_TERM = re.compile(r"^\s*(?P<key>[^\s!=,()<>]+)\s*(?P<op><|>)\s*(?P<value>-?\d+)\s*$")
EXISTS_TERM = re.compile(r"^\s*(?P<not>!?)\s*(?P<key>[^\s!=,()<>]+)\s*$")

# Fields that can be selected beside metadata.name and metadata.namespace. Source: "Field Selectors" and the strategies of each kind.
FIELDS: dict[str, tuple[str, ...]] = {
    "pods": ("spec.nodeName", "spec.restartPolicy", "spec.schedulerName", "spec.serviceAccountName", "spec.hostNetwork", "status.phase", "status.podIP", "status.nominatedNodeName"),
    "events": ("involvedObject.kind", "involvedObject.namespace", "involvedObject.name", "involvedObject.uid", "involvedObject.apiVersion",
               "involvedObject.resourceVersion", "involvedObject.fieldPath", "reason", "reportingComponent", "source", "type"),
    "secrets": ("type",),
    "namespaces": ("status.phase",),
    "nodes": ("spec.unschedulable",),
    "services": ("spec.clusterIP", "spec.type"),
    "jobs.batch": ("status.successful",),
}  # fmt: skip
REGARDING = {"regarding." + field.split(".", 1)[1]: field for field in FIELDS["events"] if field.startswith("involvedObject.")}


def parse_labels(text: str) -> Callable[[Labels], bool]:
    """The predicate of a label selector query (`a=b,c!=d,e in (f,g),!h`). Raises: ApiError 400."""
    terms = [_label_term(term, text) for term in _split(text)]
    return lambda labels: all(term(labels) for term in terms)


def _split(text: str) -> list[str]:
    terms, depth, start = [], 0, 0
    for index, char in enumerate(text):
        depth += (char == "(") - (char == ")")
        if char == "," and not depth:
            terms.append(text[start:index])
            start = index + 1
    terms.append(text[start:])
    return [term for term in terms if term.strip()]


def _label_term(term: str, whole: str) -> Callable[[Labels], bool]:
    if found := SET_TERM.match(term):
        key, values = found["key"], {value.strip() for value in found["values"].split(",")}
        if found["op"] == "in":
            return lambda labels: labels.get(key) in values
        return lambda labels: labels.get(key) not in values
    if found := EQ_TERM.match(term):
        key, value = found["key"], found["value"]
        if found["op"] == "!=":
            return lambda labels: labels.get(key) != value
        return lambda labels: labels.get(key) == value
    if found := ORDER_TERM.match(term):
        key, bound, sign = found["key"], int(found["value"]), 1 if found["op"] == ">" else -1
        return lambda labels: (number := _integer(labels.get(key, ""))) is not None and (number - bound) * sign > 0
    if found := EXISTS_TERM.match(term):
        key, wanted = found["key"], not found["not"]
        return lambda labels: (key in labels) is wanted
    raise status.bad_request(f"unable to parse requirement {term.strip()!r} of label selector {whole!r}")


def _integer(text: str) -> int | None:
    try:
        return int(text)
    except ValueError:
        return None


def parse_fields(text: str, resource: Resource) -> Predicate:
    """The predicate of a field selector (`metadata.name=a,status.phase!=Running`). Raises: ApiError 400: syntax, unknown field."""
    terms = [_field_term(term, resource) for term in text.split(",") if term.strip()]
    return lambda obj: all(term(obj) for term in terms)


def selected_name(text: str) -> str:
    """The one name that a field selector admits (`metadata.name=a`), else "".

    A list or watch of one name is authorized as access to that name (kube-apiserver's RequestInfo does so), so that
    a rule with resourceNames can allow it.
    """
    found = [match[1] for term in text.split(",") if (match := re.match(r"^\s*metadata\.name\s*==?\s*([^\s=]+)\s*$", term))]
    return found[0] if len(found) == 1 else ""


def _field_term(term: str, resource: Resource) -> Predicate:
    found = re.match(r"^\s*([\w.\-\[\]]+)\s*(==|!=|=)(.*)$", term)
    if not found:
        raise status.bad_request(f"invalid selector: {term!r}; can't understand {term!r}")
    name, negated, value = found[1], found[2] == "!=", found[3].strip()
    path = REGARDING.get(name, name) if resource.key == "events" else name
    known = ("metadata.name", *(("metadata.namespace",) if resource.namespaced else ()), *FIELDS.get(resource.key, ()), *resource.selectable)
    if path not in known:
        raise status.bad_request(f'field label not supported: "{name}" (supported for {resource.plural}: {", ".join(known)})')
    if resource.key == "events" and path in ("source", "reportingComponent"):
        return lambda obj: ((dig(obj, "source.component") or obj.get("reportingComponent") or "") == value) is not negated
    return lambda obj: (_text(dig(obj, path)) == value) is not negated


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return "" if value is None else str(value)


def build(resource: Resource, label_text: str, field_text: str) -> Predicate | None:
    """Both selectors of a request as one predicate; None when everything matches."""
    if not label_text.strip() and not field_text.strip():
        return None
    labels = parse_labels(label_text)
    fields = parse_fields(field_text, resource)
    return lambda obj: labels(obj["metadata"].get("labels") or {}) and fields(obj)


def match_selector(selector: Mapping[str, Any] | None, labels: Labels) -> bool:
    """A `metav1.LabelSelector` object against labels. Empty matches everything, None nothing.

    Source: LabelSelector: matchLabels and matchExpressions are ANDed. NotIn matches an absent key.
    """
    if selector is None:
        return False
    if any(labels.get(k) != v for k, v in (selector.get("matchLabels") or {}).items()):
        return False
    return all(meets(e, labels) for e in selector.get("matchExpressions") or ())


def format_selector(selector: Mapping[str, Any] | None) -> str:
    """A LabelSelector as kubectl prints it; `<none>` when empty."""
    parts = [f"{k}={v}" for k, v in sorted((selector or {}).get("matchLabels", {}).items())]
    for e in (selector or {}).get("matchExpressions", ()):
        values = ",".join(e.get("values", ()))
        shown = {"In": f"{e['key']} in ({values})", "NotIn": f"{e['key']} notin ({values})", "Exists": e["key"], "DoesNotExist": f"!{e['key']}"}
        parts.append(shown.get(e["operator"], str(e)))
    return ",".join(parts) or "<none>"
