"""Schema: small words for structural OpenAPI schemas, so that a CRD reads as a table of its fields.

`obj(host=STR, ports=arr(PORT))` instead of twenty lines of YAML. A trailing underscore makes a field's name usable in
Python (`from_`); a field whose value is wrapped in `req()` is required.
"""

from typing import Any

Schema = dict[str, Any]


class req:  # noqa: N801: a word of the little language
    """A required field."""

    def __init__(self, schema: Schema) -> None:
        self.schema = schema


def obj(*rules: Schema, **fields: Schema | req) -> Schema:
    """An object with these fields, and further rules (one_of, …) that hold for it."""
    properties, required = {}, []
    for name, value in fields.items():
        key = name.rstrip("_")
        properties[key] = value.schema if isinstance(value, req) else value
        if isinstance(value, req):
            required.append(key)
    result: Schema = {"type": "object", "properties": properties}
    if required:
        result["required"] = required
    for rule in rules:
        result |= rule
    return result


def arr(items: Schema, **limits: object) -> Schema:
    """A list; `most` and `least` bound its length, `keys` make it a map by these fields, `unique` a set."""
    result: Schema = {"type": "array", "items": items}
    if "most" in limits:
        result["maxItems"] = limits["most"]
    if "least" in limits:
        result["minItems"] = limits["least"]
    if "keys" in limits:
        result |= {"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": limits["keys"]}
    if limits.get("unique"):
        result["x-kubernetes-list-type"] = "set"
    return result


def mapping(values: Schema, **limits: int) -> Schema:
    """An object with any keys and such values."""
    return {"type": "object", "additionalProperties": values, **({"maxProperties": limits["most"]} if limits else {})}


def text(pattern: str = "", least: int = 0, most: int = 0, **more: Any) -> Schema:
    """A string."""
    result: Schema = {"type": "string"}
    if least:
        result["minLength"] = least
    if most:
        result["maxLength"] = most
    if pattern:
        result["pattern"] = pattern
    return result | more


def enum(*words: str, **more: Any) -> Schema:
    """One of these words."""
    return {"type": "string", "enum": list(words)} | more


def whole(least: int | None = None, most: int | None = None, **more: Any) -> Schema:
    """An integer."""
    bounds = {"minimum": least, "maximum": most}
    return {"type": "integer", **{key: value for key, value in bounds.items() if value is not None}} | more


def number(least: float | None = None, most: float | None = None) -> Schema:
    """A double."""
    bounds = {"minimum": least, "maximum": most}
    return {"type": "number", "format": "double", **{key: value for key, value in bounds.items() if value is not None}}


def one_of(*names: str) -> Schema:
    """At most one of these fields, as a protobuf `oneof` says."""
    singles: list[Schema] = [{"required": [name]} for name in names]
    return {"oneOf": [{"not": {"anyOf": singles}}, *singles]}


def rules(*pairs: tuple[str, str]) -> Schema:
    """What only CEL can say: (rule, message) pairs."""
    return {"x-kubernetes-validations": [{"rule": rule, "message": message} for rule, message in pairs]}


STR = text()
BOOL: Schema = {"type": "boolean"}
MAYBE: Schema = {"type": "boolean", "nullable": True}
STRINGS = arr(STR)
UINT32 = whole(0, 4294967295)
INT32: Schema = {"type": "integer", "format": "int32"}
PORT = whole(1, 65535)
# Go's durations without a sign, as protobuf's JSON form and Kubernetes users write them.
DURATION = text(r"^([0-9]+(\.[0-9]+)?(h|m|s|ms|us|ns))+$")
ANYTHING: Schema = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}


def crd(
    group: str, kind: str, plural: str, versions: tuple[str, ...], spec: Schema, *, short: tuple[str, ...] = (),
    columns: tuple[tuple[str, str], ...] = (), status: Schema | None = ANYTHING, namespaced: bool = True,
    category: tuple[str, ...] = (), annotations: dict[str, str] | None = None, spec_required: bool = False,
) -> Schema:  # fmt: skip
    """A CustomResourceDefinition. The first version is the stored one.

    Args: columns: (name, JSONPath) for `kubectl get`; Age comes of itself. status: None for a kind without one.
    """
    properties: Schema = {"apiVersion": STR, "kind": STR, "metadata": {"type": "object"}, "spec": spec}
    if status is not None:
        properties["status"] = status
    schema: Schema = {"type": "object", "properties": properties}
    if spec_required:
        schema["required"] = ["spec"]
    printed = [{"name": name, "type": "string", "jsonPath": path} for name, path in columns]
    printed.append({"name": "Age", "type": "date", "jsonPath": ".metadata.creationTimestamp"})
    entries = []
    for version in versions:
        entry: Schema = {"name": version, "served": True, "storage": version == versions[0]}
        if status is not None:
            entry["subresources"] = {"status": {}}
        entries.append(entry | {"additionalPrinterColumns": printed, "schema": {"openAPIV3Schema": schema}})
    names: Schema = {"kind": kind, "listKind": f"{kind}List", "plural": plural, "singular": kind.lower()}
    if short:
        names["shortNames"] = list(short)
    if category:
        names["categories"] = list(category)
    metadata: Schema = {"name": f"{plural}.{group}", "labels": {"app.kubernetes.io/part-of": "triomesh"}}
    if annotations:
        metadata["annotations"] = annotations
    scope = "Namespaced" if namespaced else "Cluster"
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": metadata,
        "spec": {"group": group, "names": names, "scope": scope, "versions": entries},
    }
