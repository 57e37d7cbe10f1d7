"""Merge: a user's partial container laid over ours, by the rules of Kubernetes' strategic merge patch."""

from typing import Any

from injector.pod import Json

# Source: Kubernetes API, x-kubernetes-list-map-keys of Container's lists.
_KEYS = {"env": ("name",), "ports": ("containerPort", "protocol"), "volumeMounts": ("mountPath",), "volumeDevices": ("devicePath",)}


def merge_container(base: Json, over: Json) -> Json:
    """Our container with the user's fields on top: mappings merge, keyed lists merge by key, null deletes.

    `image: auto` (and an absent image) keeps ours; the name stays ours.
    """
    fields = {key: value for key, value in over.items() if key != "name" and not (key == "image" and value in ("auto", ""))}
    return _merge_mapping(base, fields)


def _merge_mapping(base: Json, over: Json) -> Json:
    result = dict(base)
    for key, value in over.items():
        if value is None:
            result.pop(key, None)
        elif isinstance(value, dict) and isinstance(result.get(key), dict):
            result[key] = _merge_mapping(result[key], value)
        elif isinstance(value, list) and isinstance(result.get(key), list) and key in _KEYS:
            result[key] = _merge_list(result[key], value, _KEYS[key])
        else:
            result[key] = value
    return result


def _merge_list(base: list[Any], over: list[Any], names: tuple[str, ...]) -> list[Any]:
    def identity(item: Any) -> tuple[object, ...]:
        return tuple(item.get(name, "TCP" if name == "protocol" else None) for name in names)

    later = {identity(item): item for item in over if isinstance(item, dict)}
    merged = [_replace(item, later.pop(identity(item), None)) for item in base]
    return merged + list(later.values())


def _replace(item: Json, over: Json | None) -> Json:
    if over is None:
        return item
    # value and valueFrom exclude each other: the user's choice replaces ours whole.
    return dict(over) if "value" in over or "valueFrom" in over else _merge_mapping(item, over)
