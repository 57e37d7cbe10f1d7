"""CustomResourceDefinitions: an object that becomes rows of the registry. Pure but for `install`, which follows the store."""

from __future__ import annotations

import copy
import json
import logging
from typing import Any

from mesh.sandbox.apiserver import expressions, rules
from mesh.sandbox.apiserver.discovery import version_rank
from mesh.sandbox.apiserver.jsonpath import BadPath, parse
from mesh.sandbox.apiserver.names import is_label, is_subdomain
from mesh.sandbox.apiserver.registry import Column, Registry, Resource, Scale
from mesh.sandbox.apiserver.schema import structural
from mesh.sandbox.apiserver.schema.definitions import ANY, Node
from mesh.sandbox.apiserver.status import Cause
from mesh.sandbox.apiserver.storage import Change, Store

log = logging.getLogger("mesh.sandbox.apiserver.crd")

Obj = dict[str, Any]

KEY = "customresourcedefinitions.apiextensions.k8s.io"
COLUMN_TYPES = ("string", "integer", "number", "boolean", "date")
CLEANUP = "customresourcecleanup.apiextensions.k8s.io"


def rows(definition: Obj) -> list[Resource]:
    """One resource per served version. Raises: KeyError, TypeError: only for an object that `check` would refuse."""
    spec = definition["spec"]
    names = spec["names"]
    storage = next(v["name"] for v in spec["versions"] if v["storage"])
    made = []
    for version in sorted(spec["versions"], key=lambda v: version_rank(v["name"])):
        if not version["served"]:
            continue
        below = version.get("subresources") or {}
        scale = below.get("scale")
        made.append(Resource(
            spec["group"], version["name"], names["plural"], names["kind"], spec["scope"] == "Namespaced", names.get("singular", names["kind"].lower()),
            tuple(names.get("shortNames") or ()), tuple(names.get("categories") or ()), schema=_schema(version, spec), has_status="status" in below,
            scale=Scale(scale["specReplicasPath"], scale["statusReplicasPath"], scale.get("labelSelectorPath", "")) if scale else None,
            storage_key=f"{names['plural']}.{spec['group']}", storage_version=storage, custom=True, columns=_columns(version),
            selectable=tuple(f["jsonPath"].lstrip(".") for f in version.get("selectableFields") or ()),
            deprecated=(version.get("deprecationWarning") or f"{spec['group']}/{version['name']} {names['kind']} is deprecated") if version.get("deprecated") else "",
        ))  # fmt: skip
    return made


def _schema(version: Obj, spec: Obj) -> Node:
    found: Node = (version.get("schema") or {}).get("openAPIV3Schema") or ANY
    return {**found, "x-kubernetes-preserve-unknown-fields": True} if spec.get("preserveUnknownFields") else found


def _columns(version: Obj) -> tuple[Column, ...]:
    return tuple(Column(c["name"], c["type"], c.get("format", ""), c.get("description", ""), c.get("priority", 0), c["jsonPath"])
                 for c in version.get("additionalPrinterColumns") or ())  # fmt: skip


def install(registry: Registry, store: Store) -> None:
    """Serve what the store's definitions describe, now and after every change."""
    for _, stored in store.items(KEY):
        _serve(registry, stored.obj)

    def on_change(change: Change) -> None:
        if change.key.resource != KEY:
            return
        if change.deleted:
            registry.replace(change.key.name, [])
        else:
            _serve(registry, change.new.obj)

    store.on_change.append(on_change)


def _serve(registry: Registry, definition: Obj) -> None:
    try:
        registry.replace(definition["metadata"]["name"], rows(definition))
    except (KeyError, TypeError, StopIteration):
        log.exception("CustomResourceDefinition %s cannot be served", definition["metadata"].get("name"))


def finish(new: Obj, old: Obj | None, subresource: str) -> None:
    """Accept the names at once: status of a definition as a real server's controllers would leave it."""
    if subresource == "status":
        return
    status = new.setdefault("status", {})
    spec = new.get("spec") or {}
    when = new["metadata"].get("creationTimestamp")
    status["acceptedNames"] = spec.get("names", {})
    storage = [v["name"] for v in spec.get("versions") or () if v.get("storage")]
    status["storedVersions"] = list(dict.fromkeys([*(status.get("storedVersions") or ()), *storage]))
    if not status.get("conditions"):
        status["conditions"] = [
            {"type": "NamesAccepted", "status": "True", "reason": "NoConflicts", "message": "no conflicts found", "lastTransitionTime": when},
            {"type": "Established", "status": "True", "reason": "InitialNamesAccepted", "message": "the initial names have been accepted", "lastTransitionTime": when},
        ]
    if old is None:
        finalizers = new["metadata"].setdefault("finalizers", [])
        if CLEANUP not in finalizers:
            finalizers.append(CLEANUP)


def check(new: Obj, old: Obj | None) -> list[Cause]:
    """What the schema of a definition cannot say."""
    spec = new["spec"]
    names, group = spec["names"], spec["group"]
    causes: list[Cause] = []

    def bad(path: str, message: str, reason: str = "FieldValueInvalid") -> None:
        causes.append(Cause(reason, path, message))

    wanted = f"{names.get('plural')}.{group}"
    if new["metadata"]["name"] != wanted:
        bad("metadata.name", f'Invalid value: "{new["metadata"]["name"]}": must be spec.names.plural+"."+spec.group')
    if "." not in group or not is_subdomain(group):
        bad("spec.group", f'Invalid value: "{group}": should be a domain with at least one dot')
    if spec["scope"] not in ("Cluster", "Namespaced"):
        bad("spec.scope", f'Unsupported value: "{spec["scope"]}": supported values: "Cluster", "Namespaced"', "FieldValueNotSupported")
    for name in ("plural", "singular"):
        if names.get(name) and not is_label(names[name]):
            bad(f"spec.names.{name}", f'Invalid value: "{names[name]}": must be a DNS-1035 label')
    versions = spec["versions"]
    if sum(bool(v["storage"]) for v in versions) != 1:
        bad("spec.versions", f"Invalid value: {[v['name'] for v in versions]}: must have exactly one version marked as storage version")
    if len({v["name"] for v in versions}) != len(versions):
        bad("spec.versions", "Invalid value: must contain unique version names")
    if (spec.get("conversion") or {}).get("strategy") not in (None, "None"):
        bad("spec.conversion.strategy", 'Unsupported value: "Webhook": the sandbox converts between versions with strategy "None" only', "FieldValueNotSupported")
    for index, version in enumerate(versions):
        # A schema that all versions share is named by its old, single place.
        schema = f"spec.versions[{index}].schema" if len(versions) > 1 else "spec.validation"
        causes += _check_version(version, f"spec.versions[{index}]", f"{schema}.openAPIV3Schema")
    if old is not None:
        for name in ("group", "scope"):
            if spec[name] != old["spec"][name]:
                bad(f"spec.{name}", f'Invalid value: "{spec[name]}": field is immutable')
    return causes


def _check_version(version: Obj, path: str, where: str) -> list[Cause]:
    causes: list[Cause] = []
    if not is_label(version["name"]):
        causes.append(Cause("FieldValueInvalid", f"{path}.name", f'Invalid value: "{version["name"]}": must be a DNS-1035 label'))
    schema = (version.get("schema") or {}).get("openAPIV3Schema")
    if not isinstance(schema, dict):
        causes.append(Cause("FieldValueRequired", where, "Required value: schemas are required"))
    else:
        if schema.get("type") != "object":
            causes.append(Cause("FieldValueInvalid", f"{where}.type", f'Invalid value: "{schema.get("type", "")}": must be object at the root'))
        causes += structure(schema, where)
    for index, column in enumerate(version.get("additionalPrinterColumns") or ()):
        here = f"{path}.additionalPrinterColumns[{index}]"
        if column["type"] not in COLUMN_TYPES:
            causes.append(Cause("FieldValueNotSupported", f"{here}.type", f'Unsupported value: "{column["type"]}": supported values: {", ".join(COLUMN_TYPES)}'))
        try:
            parse(column["jsonPath"])
        except BadPath as exc:
            causes.append(Cause("FieldValueInvalid", f"{here}.jsonPath", f"Invalid value: {exc}"))
    return causes


def structure(node: Any, path: str) -> list[Cause]:
    """Whether a schema is structural. Source: "Custom Resources", "Specifying a structural schema"."""
    if not isinstance(node, dict):
        return [Cause("FieldValueTypeInvalid", path, "Invalid value: must be an object")]
    causes: list[Cause] = []
    for word in ("$ref", "definitions", "dependencies", "deprecated", "discriminator", "id", "patternProperties", "readOnly", "writeOnly", "xml"):
        if word in node:
            causes.append(Cause("FieldValueForbidden", f"{path}.{word}", "Forbidden: may not be set in a structural schema"))
    if not node.get("type") and not node.get("x-kubernetes-int-or-string") and not node.get("x-kubernetes-preserve-unknown-fields"):
        causes.append(Cause("FieldValueRequired", f"{path}.type", "Required value: must not be empty for specified object fields"))
    if node.get("properties") and isinstance(node.get("additionalProperties"), dict):
        causes.append(Cause("FieldValueForbidden", f"{path}.additionalProperties", "Forbidden: additionalProperties and properties are mutual exclusive"))
    if node.get("x-kubernetes-list-type") == "map" and not node.get("x-kubernetes-list-map-keys"):
        causes.append(Cause("FieldValueRequired", f"{path}.x-kubernetes-list-map-keys", "Required value: must not be empty if x-kubernetes-list-type is map"))
    for key in node.get("x-kubernetes-list-map-keys") or ():
        if key not in ((node.get("items") or {}).get("properties") or {}):
            causes.append(Cause("FieldValueInvalid", f"{path}.x-kubernetes-list-map-keys", f'Invalid value: "{key}": must be a property of the items'))
        elif key not in (node["items"].get("required") or ()) and "default" not in node["items"]["properties"][key]:
            here = f"{path}.items.properties[{key}].default"
            causes.append(Cause("FieldValueRequired", here, "Required value: this property is in x-kubernetes-list-map-keys, so it must have a default or be a required property"))
    for index, rule in enumerate(node.get("x-kubernetes-validations") or ()):
        if problem := expressions.syntax_error(rule.get("rule", "")):
            shown = json.dumps(rule.get("rule", ""))
            causes.append(Cause("FieldValueInvalid", f"{path}.x-kubernetes-validations[{index}].rule", f"Invalid value: {shown}: compilation failed: {problem}"))
    if "default" in node:
        causes += [cause._replace(field=f"{path}.default") for cause in structural.check(_filled(node["default"], node), node, "default")]
    for name, child in (node.get("properties") or {}).items():
        if path.endswith("openAPIV3Schema") and name in ("metadata", "apiVersion", "kind"):
            continue
        causes += structure(child, f"{path}.properties[{name}]")
    if "items" in node:
        causes += structure(node["items"], f"{path}.items")
    elif node.get("type") == "array":
        causes.append(Cause("FieldValueRequired", f"{path}.items", "Required value: must be specified"))
    if isinstance(node.get("additionalProperties"), dict):
        causes += structure(node["additionalProperties"], f"{path}.additionalProperties")
    return causes


def _filled(default: Any, node: Node) -> Any:
    """A default with the defaults below it."""
    value = {"default": copy.deepcopy(default)}
    structural.fill(value, {"properties": {"default": {key: entry for key, entry in node.items() if key != "default"}}})
    return value["default"]


def evaluate_rules(new: Obj, old: Obj | None, resource: Resource) -> tuple[list[Cause], list[str]]:
    """`x-kubernetes-validations` of a custom kind: what they forbid, and warnings."""
    return rules.evaluate(new, old, resource.schema)
