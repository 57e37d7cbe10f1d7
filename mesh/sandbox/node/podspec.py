"""What one container is to run, worked out from the pod: command, environment, user, working directory. Pure.

Source: Kubernetes API reference v1.Container, v1.EnvVar, v1.SecurityContext; "Define Dependent Environment Variables".
"""

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from mesh.sandbox.images import Image
from mesh.sandbox.linux import CAPABILITIES
from mesh.sandbox.node.quantity import divide

Json = dict[str, Any]
Lookup = Callable[[str, str], Json | None]
"""(kind "ConfigMap" or "Secret", name) → its decoded `data`, or None when it does not exist."""

DEFAULT_CAPABILITIES = frozenset(
    ["CHOWN", "DAC_OVERRIDE", "FSETID", "FOWNER", "MKNOD", "NET_RAW", "SETGID", "SETUID", "SETFCAP", "SETPCAP", "NET_BIND_SERVICE", "SYS_CHROOT", "KILL", "AUDIT_WRITE"]
)
"""What containerd gives a container that asks for nothing."""
DEFAULT_PATH = "/opt/triomesh/venv/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_REFERENCE = re.compile(r"\$\$|\$\(([-._a-zA-Z][-._a-zA-Z0-9]*)\)")
_KEYED = re.compile(r"metadata\.(labels|annotations)\['([^']+)'\]")


class SpecError(Exception):
    """The container cannot be made from this spec now. `reason` is kubelet's (CreateContainerConfigError)."""

    def __init__(self, message: str, reason: str = "CreateContainerConfigError") -> None:
        super().__init__(message)
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Facts:
    """What the pod's spec cannot know."""

    pod_ip: str
    node_ip: str
    node_name: str
    cpus: int
    memory_bytes: int


@dataclass(frozen=True, slots=True)
class User:
    """Who the processes of a container are."""

    uid: int
    gid: int
    groups: tuple[int, ...]
    capabilities: frozenset[str]
    privileged: bool
    no_new_privileges: bool


def expand(text: str, env: Mapping[str, str]) -> str:
    """Replace $(NAME) where NAME is known; $$ is a dollar sign."""

    def one(match: re.Match[str]) -> str:
        name = match.group(1)
        return "$" if name is None else env.get(name, match.group(0))

    return _REFERENCE.sub(one, text)


def environment(
    pod: Json, container: Json, image: Image, facts: Facts, services: Mapping[str, str], lookup: Lookup
) -> dict[str, str]:
    """The environment of a container: image, services, envFrom, env, each later one winning.

    Raises: SpecError: a required ConfigMap, Secret, key or field does not exist.
    """
    own: dict[str, str] = {}
    for source in container.get("envFrom") or ():
        own.update(_env_from(source, lookup))
    known = {**services, **own}
    for item in container.get("env") or ():
        value = _env_value(pod, container, item, facts, lookup, known)
        if value is not None:
            own[item["name"]] = known[item["name"]] = value
    base = {"PATH": DEFAULT_PATH, "HOSTNAME": hostname(pod), "HOME": "/root", "PYTHONPATH": "/opt/triomesh/src"}
    return {**base, **image.env, **services, **own}


def service_environment(services: Iterable[Json], namespace: str, links: bool) -> dict[str, str]:
    """Variables for Services: those of `kubernetes` always, of the own namespace's if `enableServiceLinks` is on."""
    env: dict[str, str] = {}
    for service in sorted(services, key=lambda item: str(item["metadata"]["name"])):
        meta, spec = service["metadata"], service["spec"]
        api = (meta["namespace"], meta["name"]) == ("default", "kubernetes")
        address = spec.get("clusterIP")
        if address in (None, "", "None") or not (api or (links and meta["namespace"] == namespace)):
            continue
        env.update(_service_links(meta["name"].upper().replace("-", "_"), address, spec.get("ports") or []))
    return env


def command(container: Json, image: Image, env: Mapping[str, str]) -> list[str]:
    """The argv of a container; `command` replaces ENTRYPOINT and CMD, `args` replaces CMD.

    Raises: SpecError: there is nothing to run.
    """
    own, args = container.get("command"), container.get("args")
    entry = [expand(part, env) for part in own] if own else list(image.command)
    if args:
        rest = [expand(part, env) for part in args]
    else:
        rest = [] if own else list(image.args)
    if not entry and not rest:
        raise SpecError(f"container {container['name']}: no command specified", "CreateContainerError")
    return entry + rest


def user(pod: Json, container: Json, image: Image) -> User:
    """uid, gid, groups and capabilities after securityContext of pod and container.

    Raises: SpecError: runAsNonRoot and the user would be root, or an unknown capability.
    """
    general, own = pod["spec"].get("securityContext") or {}, container.get("securityContext") or {}
    merged = {**general, **own}
    uid = int(merged.get("runAsUser", image.user))
    gid = int(merged.get("runAsGroup", image.group if "runAsUser" not in merged else 0))
    if merged.get("runAsNonRoot") and uid == 0:
        raise SpecError(f"container has runAsNonRoot and image will run as root (container: {container['name']})")
    groups = {gid, *general.get("supplementalGroups", ()), *([general["fsGroup"]] if "fsGroup" in general else ())}
    privileged = bool(own.get("privileged"))
    caps = own.get("capabilities") or {}
    return User(
        uid, gid, tuple(sorted(groups)), _capabilities(caps), privileged, own.get("allowPrivilegeEscalation") is False
    )


def hostname(pod: Json) -> str:
    """The name a pod's containers see, at most 63 characters; on the node's network it is the node's."""
    if pod["spec"].get("hostNetwork"):
        return str(pod["spec"]["nodeName"])
    return str(pod["spec"].get("hostname") or pod["metadata"]["name"])[:63].rstrip("-.")


def field_value(pod: Json, path: str, facts: Facts) -> str:
    """The value of a downward-API field.

    Raises: SpecError: the path is not one Kubernetes knows.
    """
    meta, spec = pod["metadata"], pod["spec"]
    if match := _KEYED.fullmatch(path):
        return str((meta.get(match.group(1)) or {}).get(match.group(2), ""))
    simple: dict[str, str] = {
        "metadata.name": meta["name"],
        "metadata.namespace": meta["namespace"],
        "metadata.uid": meta["uid"],
        "spec.nodeName": facts.node_name,
        "spec.serviceAccountName": spec.get("serviceAccountName", "default"),
        "status.hostIP": facts.node_ip,
        "status.hostIPs": facts.node_ip,
        "status.podIP": facts.pod_ip,
        "status.podIPs": facts.pod_ip,
    }
    if path in simple:
        return simple[path]
    if path in ("metadata.labels", "metadata.annotations"):
        items = sorted((meta.get(path.removeprefix("metadata.")) or {}).items())
        # kubelet's format: key="value" with Go's quoting, one per line
        return "\n".join(f'{key}="{_go_quote(value)}"' for key, value in items)
    raise SpecError(f"unsupported fieldPath: {path}")


def resource_value(pod: Json, container: Json, reference: Json, facts: Facts) -> str:
    """The value of a resourceFieldRef; a limit that is not set is the node's.

    Raises: SpecError: unknown container, resource, or a quantity that is not one.
    """
    name = reference.get("containerName") or container["name"]
    every = [*(pod["spec"].get("initContainers") or ()), *pod["spec"]["containers"]]
    target = next((item for item in every if item["name"] == name), None)
    kind, _, what = reference["resource"].partition(".")
    if target is None or kind not in ("limits", "requests"):
        raise SpecError(f"resourceFieldRef: no {reference['resource']} of container {name}")
    resources = target.get("resources") or {}
    defaults = {"cpu": str(facts.cpus), "memory": str(facts.memory_bytes), "ephemeral-storage": "0"}
    default = defaults.get(what, "0") if kind == "limits" else (resources.get("limits") or {}).get(what, "0")
    quantity = (resources.get(kind) or {}).get(what, default)
    try:
        return str(divide(str(quantity), str(reference.get("divisor") or "1")))
    except ValueError as exc:
        raise SpecError(f"resourceFieldRef {reference['resource']}: {exc}") from exc


def _env_from(source: Json, lookup: Lookup) -> dict[str, str]:
    prefix = source.get("prefix", "")
    kind, reference = ("ConfigMap", source["configMapRef"]) if "configMapRef" in source else ("Secret", source["secretRef"])
    data = lookup(kind, reference["name"])
    if data is None:
        if reference.get("optional"):
            return {}
        raise SpecError(f'{kind.lower()} "{reference["name"]}" not found')
    return {prefix + key: _text(value) for key, value in data.items()}


def _env_value(
    pod: Json, container: Json, item: Json, facts: Facts, lookup: Lookup, known: Mapping[str, str]
) -> str | None:
    source = item.get("valueFrom")
    if source is None:
        return expand(item.get("value") or "", known)
    if "fieldRef" in source:
        return field_value(pod, source["fieldRef"]["fieldPath"], facts)
    if "resourceFieldRef" in source:
        return resource_value(pod, container, source["resourceFieldRef"], facts)
    for key, kind in (("configMapKeyRef", "ConfigMap"), ("secretKeyRef", "Secret")):
        if key in source:
            return _keyed_value(source[key], kind, lookup)
    raise SpecError(f"env {item['name']}: valueFrom {', '.join(source) or 'is empty'}: not supported by the sandbox")


def _keyed_value(reference: Json, kind: str, lookup: Lookup) -> str | None:
    data = lookup(kind, reference["name"])
    if data is not None and reference["key"] in data:
        return _text(data[reference["key"]])
    if reference.get("optional"):
        return None
    if data is None:
        raise SpecError(f'{kind.lower()} "{reference["name"]}" not found')
    raise SpecError(f"couldn't find key {reference['key']} in {kind} {reference['name']}")


def _text(value: str | bytes) -> str:
    return value.decode("utf-8", "surrogateescape") if isinstance(value, bytes) else value


def _service_links(prefix: str, address: str, ports: list[Json]) -> dict[str, str]:
    if not ports:
        return {}
    env = {f"{prefix}_SERVICE_HOST": address, f"{prefix}_SERVICE_PORT": str(ports[0]["port"])}
    for index, port in enumerate(ports):
        protocol = port.get("protocol", "TCP")
        if port.get("name"):
            env[f"{prefix}_SERVICE_PORT_{port['name'].upper().replace('-', '_')}"] = str(port["port"])
        url = f"{protocol.lower()}://{address}:{port['port']}"
        if index == 0:
            env[f"{prefix}_PORT"] = url
        base = f"{prefix}_PORT_{port['port']}_{protocol}"
        env |= {base: url, f"{base}_PROTO": protocol.lower(), f"{base}_PORT": str(port["port"]), f"{base}_ADDR": address}
    return env


def _capabilities(wanted: Json) -> frozenset[str]:
    every = frozenset(CAPABILITIES)
    add = {name.removeprefix("CAP_").upper() for name in wanted.get("add") or ()}
    drop = {name.removeprefix("CAP_").upper() for name in wanted.get("drop") or ()}
    if unknown := (add | drop) - every - {"ALL"}:
        raise SpecError(f"unknown capability {sorted(unknown)[0]!r}", "CreateContainerError")
    base = every if "ALL" in add else DEFAULT_CAPABILITIES
    kept = frozenset() if "ALL" in drop else base - drop
    return kept | (add - {"ALL"}) if "ALL" not in add or "ALL" in drop else kept


def _go_quote(value: str) -> str:
    return value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n").replace("\t", "\\t").replace("\r", "\\r")
