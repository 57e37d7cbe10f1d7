"""JSONPath as printer columns use it: `.spec.hosts`, `.status.conditions[?(@.type=="Ready")].status`, `.a[0].b`, `.a[*].b`. Pure."""

from __future__ import annotations

import re
from typing import Any, NamedTuple

TOKEN = re.compile(
    r"""\.(?P<name>(?:\\.|[\w\-/])+)|\[\?\(\s*@\.(?P<field>[\w.\-]+)\s*(?P<op>==|!=)\s*(?P<quote>["'])(?P<value>.*?)(?P=quote)\s*\)\]"""
    r"""|\[(?P<index>-?\d+)\]|\[(?P<star>\*)\]|(?P<dotstar>\.\*)|\[(?P<kquote>["'])(?P<key>.*?)(?P=kquote)\]"""
)


class BadPath(ValueError):
    """The path uses something we do not read; the text names the position."""


class Step(NamedTuple):
    """One step: a field name, a list position, every element, or a filter (field, operator, text)."""

    kind: str
    name: str = ""
    position: int = 0
    operator: str = ""
    value: str = ""


def parse(path: str) -> list[Step]:
    """Raises: BadPath."""
    text = path.strip()
    if text.startswith("{") and text.endswith("}"):
        text = text[1:-1]
    text = text.removeprefix("$")
    if not text.startswith((".", "[")):
        text = "." + text
    steps: list[Step] = []
    at = 0
    if text == ".":
        return steps
    while at < len(text):
        found = TOKEN.match(text, at)
        if not found:
            raise BadPath(f"{path!r}: cannot read {text[at:]!r}")
        if found["name"]:
            steps.append(Step("field", re.sub(r"\\(.)", r"\1", found["name"])))
        elif found["key"] is not None:
            steps.append(Step("field", found["key"].replace("\\.", ".")))
        elif found["field"]:
            steps.append(Step("filter", found["field"], 0, found["op"], found["value"]))
        elif found["index"]:
            steps.append(Step("index", position=int(found["index"])))
        else:
            steps.append(Step("all"))
        at = found.end()
    return steps


def find(path: str, obj: Any) -> list[Any]:
    """All values at `path`; empty when there is none. Raises: BadPath."""
    found = [obj]
    for step in parse(path):
        found = [value for current in found for value in _apply(step, current)]
    return found


def _apply(step: Step, value: Any) -> list[Any]:
    match step.kind:
        case "field":
            return [value[step.name]] if isinstance(value, dict) and step.name in value else []
        case "index":
            return [value[step.position]] if isinstance(value, list) and -len(value) <= step.position < len(value) else []
        case "all":
            return list(value.values()) if isinstance(value, dict) else list(value) if isinstance(value, list) else []
        case _:
            if not isinstance(value, list):
                return []
            return [entry for entry in value if (_text(entry, step.name) == step.value) is (step.operator == "==")]


def _text(entry: Any, path: str) -> str | None:
    for part in path.split("."):
        if not isinstance(entry, dict) or part not in entry:
            return None
        entry = entry[part]
    return str(entry).lower() if isinstance(entry, bool) else str(entry)
