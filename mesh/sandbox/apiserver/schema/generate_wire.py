"""Make `wire.json`: the protobuf field numbers of the built-in kinds, from the struct tags of Kubernetes' Go API packages.

Usage: python -m mesh.sandbox.apiserver.schema.generate_wire .../k8s.io/api@v0.32.4 .../k8s.io/apimachinery@v0.32.4

A developer's tool: the server reads only its output. kubectl's typed clients send protobuf (`create token`, `create namespace`, `auth can-i`).
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

from mesh.sandbox.apiserver.schema.definitions import definitions

FIELD = re.compile(r'^\s+(?:(?P<name>\w+)\s+)?(?P<type>[\w.*\[\]]+)\s+`json:"(?P<json>[^"]*)"[^`]*?protobuf:"(?P<wire>\w+),(?P<number>\d+)[^"]*"')
STRUCT = re.compile(r"^type (\w+) struct \{")
ALIAS = re.compile(r"^type (\w+) ([\w.\[\]*]+)$")
IMPORT_ALIASES = {"metav1": "v1", "v1": "core.v1", "corev1": "core.v1", "apiv1": "core.v1", "intstr": "intstr", "resource": "resource", "runtime": "runtime", "types": "types", "rbacv1": "rbac.v1"}
SPECIAL = {"intstr.IntOrString": "int-or-string", "resource.Quantity": "quantity", "v1.Time": "time", "v1.MicroTime": "time", "v1.FieldsV1": "fields", "runtime.RawExtension": "raw"}
SCALARS = {"string": "s", "int32": "i", "int64": "i", "int": "i", "bool": "b", "float64": "d", "uint8": "i", "[]byte": "y", "types.UID": "s", "types.NodeName": "s", "types.NamespacedName": "s", "byte": "i"}


def packages(api: Path, machinery: Path) -> dict[str, Path]:
    """Package prefix of a definition → its Go directory."""
    names = {name.rsplit(".", 1)[0] for name in definitions()}
    found = {"v1": machinery / "pkg/apis/meta/v1"}
    directories = {"authentication": "authentication", "authorization": "authorization", "rbac": "rbac", "events": "events"}
    for name in names - {"v1"}:
        package, version = name.split(".")
        if package != "apiextensions":
            found[name] = api / directories.get(package, package) / version
    return found


def read(prefix: str, directory: Path, structs: dict[str, list[dict[str, str]]], aliases: dict[str, str]) -> None:
    """Collect structs and named types of one package."""
    for file in sorted(directory.glob("*types*.go")):
        current = None
        for line in file.read_text().splitlines():
            if start := STRUCT.match(line):
                current = structs.setdefault(f"{prefix}.{start[1]}", [])
            elif line.startswith("}"):
                current = None
            elif current is not None and (field := FIELD.match(line)):
                current.append({**{k: v or "" for k, v in field.groupdict().items()}, "package": prefix})
            elif named := ALIAS.match(line):
                aliases[f"{prefix}.{named[1]}"] = named[2]


def qualify(kind: str, package: str) -> str:
    """A Go type name → definition name."""
    if "." in kind:
        left, right = kind.split(".", 1)
        return f"{IMPORT_ALIASES.get(left, left)}.{right}"
    return kind if kind in SCALARS else f"{package}.{kind}"


def wire_type(kind: str, package: str, structs: dict[str, Any], aliases: dict[str, str]) -> str:
    """`[]`/`{}` prefix, then a scalar letter, a special name or a definition."""
    if kind in SCALARS:
        return SCALARS[kind]
    if kind.startswith("*"):
        return wire_type(kind[1:], package, structs, aliases)
    if kind.startswith("[]"):
        return "[]" + wire_type(kind[2:], package, structs, aliases)
    if kind.startswith("map["):
        return "{}" + wire_type(kind.split("]", 1)[1], package, structs, aliases)
    name = qualify(kind, package)
    if name in SPECIAL:
        return SPECIAL[name]
    if name in SCALARS:
        return SCALARS[name]
    if name in structs:
        return name
    if name in aliases:
        inner = wire_type(aliases[name], name.rsplit(".", 1)[0], structs, aliases)
        # A named list is a message with one repeated field `items`.
        return "items:" + inner[2:] if inner.startswith("[]") else inner
    raise KeyError(f"{package}: {kind}")


def main() -> None:
    """Write `wire.json` beside this file."""
    structs: dict[str, list[dict[str, str]]] = {}
    aliases: dict[str, str] = {}
    for prefix, directory in packages(Path(sys.argv[1]), Path(sys.argv[2])).items():
        read(prefix, directory, structs, aliases)
    out: dict[str, dict[str, list[Any]]] = {}
    todo = [name for name in definitions() if name in structs]
    while todo:
        name = todo.pop()
        if name in out:
            continue
        out[name] = {}
        for field in structs[name]:
            json_name, _, options = field["json"].partition(",")
            kind = wire_type(field["type"], field["package"], structs, aliases)
            pointer = field["type"].startswith("*")
            out[name][field["number"]] = ["" if "inline" in options and not json_name else json_name, kind, int(pointer)]
            target = kind.removeprefix("[]").removeprefix("{}")
            if target in structs:
                todo.append(target)
    Path(__file__).with_name("wire.json").write_text(json.dumps(out, separators=(",", ":"), sort_keys=True) + "\n")


if __name__ == "__main__":
    main()
