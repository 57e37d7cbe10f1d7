"""What a pod's volumes contain. Pure: a volume and what it refers to → files.

Source: Kubernetes API reference v1.Volume, v1.KeyToPath, v1.ProjectedVolumeSource.
"""

import posixpath
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from mesh.sandbox.node.podspec import Facts, Lookup, SpecError, field_value, resource_value

Json = dict[str, Any]
_DATA_KINDS = frozenset({"configMap", "secret", "downwardAPI", "projected"})
DEFAULT_TOKEN_SECONDS = 3600


@dataclass(frozen=True, slots=True)
class File:
    """One file of a volume. `user` owns it; None = root."""

    content: bytes
    mode: int
    user: int | None = None


@dataclass(frozen=True, slots=True)
class TokenWish:
    """A service-account token that a projected volume asks for. `audience` "" = the API server's."""

    audience: str
    seconds: int
    path: str
    mode: int


@dataclass(frozen=True, slots=True)
class Directory:
    """An emptyDir. `memory` = a tmpfs; `size` is a quantity or ""."""

    memory: bool
    size: str


def is_data(volume: Json) -> bool:
    """Whether the volume's files come from the API (and change with it)."""
    return not _DATA_KINDS.isdisjoint(volume)


def directory(volume: Json) -> Directory:
    """The emptyDir of a volume that is not data.

    Raises: SpecError: a kind of volume that the sandbox does not have.
    """
    if "emptyDir" in volume:
        source = volume["emptyDir"] or {}
        return Directory(source.get("medium") == "Memory", str(source.get("sizeLimit") or ""))
    kind = next((key for key in volume if key != "name"), "nothing")
    why = {
        "hostPath": "hostPath is refused: the host's files are not part of the sandbox",
        "persistentVolumeClaim": "the sandbox has no storage provisioner; use emptyDir",
    }.get(kind, f"volumes of kind {kind} are not supported by the sandbox")
    raise SpecError(f'volume "{volume["name"]}": {why}', "FailedMount")


def token_wishes(volume: Json) -> list[TokenWish]:
    """The tokens a volume needs."""
    projected = volume.get("projected") or {}
    default = projected.get("defaultMode", 0o644)
    return [
        TokenWish(
            token.get("audience") or "", int(token.get("expirationSeconds") or DEFAULT_TOKEN_SECONDS), token["path"], default
        )
        for source in projected.get("sources") or ()
        if (token := source.get("serviceAccountToken")) is not None
    ]


def references(volume: Json) -> Iterator[tuple[str, str]]:
    """(kind, name) of every ConfigMap and Secret whose change changes the volume."""
    for source in [volume, *((volume.get("projected") or {}).get("sources") or ())]:
        if "configMap" in source:
            yield "ConfigMap", source["configMap"].get("name", "")
        if "secret" in source:
            yield "Secret", source["secret"].get("secretName") or source["secret"].get("name", "")


def files(
    volume: Json, pod: Json, facts: Facts, lookup: Lookup, tokens: Mapping[TokenWish, str]
) -> dict[str, File]:
    """Path inside the volume → file.

    Raises: SpecError: something that is not optional does not exist, or a path leads out of the volume.
    """
    name = volume["name"]
    if "projected" not in volume:
        return _source_files(name, volume, _mode(volume, 0o644), pod, facts, lookup)
    projected = volume["projected"]
    default = projected.get("defaultMode", 0o644)
    found: dict[str, File] = {}
    for source in projected.get("sources") or ():
        if "serviceAccountToken" not in source:
            found.update(_source_files(name, source, default, pod, facts, lookup))
    user = _only_user(pod)
    is_private = user is not None or "fsGroup" in (pod["spec"].get("securityContext") or {})
    for wish in token_wishes(volume):
        # A token is readable by all only where nobody can be named who it is for.
        found[_safe(name, wish.path)] = File(tokens[wish].encode(), 0o600 if is_private else wish.mode, user)
    return found


def _only_user(pod: Json) -> int | None:
    """The user as whom every container is said to run; None: several, or not said. Source: kubelet, volume/util FsUserFrom."""
    spec = pod["spec"]
    general = (spec.get("securityContext") or {}).get("runAsUser")
    found = {
        (item.get("securityContext") or {}).get("runAsUser", general)
        for field in ("initContainers", "containers")
        for item in spec.get(field) or ()
    }
    return found.pop() if len(found) == 1 else None


def _mode(volume: Json, default: int) -> int:
    kind = next((key for key in _DATA_KINDS if key in volume), "")
    return int((volume.get(kind) or {}).get("defaultMode", default))


def _source_files(name: str, source: Json, mode: int, pod: Json, facts: Facts, lookup: Lookup) -> dict[str, File]:
    if "configMap" in source:
        part = source["configMap"]
        return _keyed(name, "ConfigMap", part.get("name", ""), part, mode, lookup)
    if "secret" in source:
        part = source["secret"]
        return _keyed(name, "Secret", part.get("secretName") or part.get("name", ""), part, mode, lookup)
    if "downwardAPI" in source:
        return _downward(name, source["downwardAPI"], mode, pod, facts)
    kind = next((key for key in source if key != "name"), "nothing")
    raise SpecError(f'volume "{name}": projected {kind} is not supported by the sandbox', "FailedMount")


def _keyed(volume: str, kind: str, name: str, part: Json, mode: int, lookup: Lookup) -> dict[str, File]:
    data = lookup(kind, name)
    optional = bool(part.get("optional"))
    if data is None:
        if optional:
            return {}
        raise SpecError(f'MountVolume.SetUp failed for volume "{volume}" : {kind.lower()} "{name}" not found', "FailedMount")
    items = part.get("items")
    if not items:
        return {_safe(volume, key): File(_bytes(value), mode) for key, value in data.items()}
    found = {}
    for item in items:
        if item["key"] in data:
            found[_safe(volume, item["path"])] = File(_bytes(data[item["key"]]), int(item.get("mode", mode)))
        elif not optional:
            raise SpecError(f'volume "{volume}": {kind.lower()} "{name}" references non-existent key: {item["key"]}', "FailedMount")
    return found


def _downward(volume: str, part: Json, mode: int, pod: Json, facts: Facts) -> dict[str, File]:
    found = {}
    for item in part.get("items") or ():
        if "fieldRef" in item:
            text = field_value(pod, item["fieldRef"]["fieldPath"], facts)
        else:
            reference = item["resourceFieldRef"]
            text = resource_value(pod, {"name": reference.get("containerName", "")}, reference, facts)
        found[_safe(volume, item["path"])] = File(text.encode(), int(item.get("mode", mode)))
    return found


def _safe(volume: str, path: str) -> str:
    clean = posixpath.normpath(path)
    if posixpath.isabs(clean) or clean.split("/")[0] in ("..", "."):
        raise SpecError(f'volume "{volume}": path {path!r} leads out of the volume', "FailedMount")
    return clean


def _bytes(value: str | bytes) -> bytes:
    return value if isinstance(value, bytes) else value.encode()


