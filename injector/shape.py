"""Shape: the types of the fields of a pod that injection reads, checked once so that nothing later meets a surprise.

The API server has checked far more before it calls a webhook; a file given to `meshctl inject` has been checked by nobody.
"""

from collections.abc import Mapping
from typing import Any

from injector.pod import BadPod

# A shape is a type, a one-element list (of that shape), or a mapping of field names to shapes. Null is absent, and
# what may not be absent is in a one-element tuple.
_HANDLER: dict[str, Any] = {"httpGet": {"path": str, "host": str, "httpHeaders": [{}]}, "tcpSocket": {"host": str}, "grpc": {}}
_CONTAINER: dict[str, Any] = {
    "name": (str,), "image": str, "env": [{"name": (str,), "value": str}], "ports": [{"name": str, "containerPort": (int,)}],
    "resources": {"limits": {}, "requests": {}}, "securityContext": {"runAsUser": int}, "volumeMounts": [{"mountPath": str}],
    "readinessProbe": _HANDLER, "livenessProbe": _HANDLER, "startupProbe": _HANDLER,
    "lifecycle": {"preStop": _HANDLER, "postStart": _HANDLER},
}  # fmt: skip
_NAMED = [{"name": (str,)}]
_POD: dict[str, Any] = {
    "metadata": {
        "name": str, "generateName": str, "namespace": str, "labels": {}, "annotations": {},
        "ownerReferences": [{"name": (str,), "kind": (str,), "apiVersion": (str,)}],
    },
    "spec": {
        "containers": [_CONTAINER], "initContainers": [_CONTAINER], "volumes": _NAMED, "imagePullSecrets": _NAMED,
        "securityContext": {"sysctls": _NAMED, "runAsUser": int}, "nodeSelector": {}, "os": {"name": str},
        "serviceAccountName": str, "hostNetwork": bool,
    },
}  # fmt: skip
_NOUNS = {str: "a string", int: "a whole number", bool: "true or false"}


# What an earlier injection noted in annotation proxy.triomesh.io/overrides.
_OVERRIDES: dict[str, Any] = {
    "containers": [_CONTAINER], "initContainers": [_CONTAINER], "annotations": {}, "securityContext": {},
}  # fmt: skip


def check_overrides(value: object, path: str) -> None:
    """Raises: BadPod: overrides that no injection wrote."""
    _check(value, _OVERRIDES, path)


def check_probers(value: object, path: str) -> None:
    """Raises: BadPod: no mapping from paths to probers."""
    _check(value, {}, path)
    assert isinstance(value, Mapping)
    for key, prober in value.items():
        _check(prober, (_HANDLER,), f"{path}[{key}]")


def check(pod_object: object) -> None:
    """Raises: BadPod: a field of the wrong type, named by its path."""
    _check(pod_object, _POD, "")


def _check(value: object, shape: Any, path: str) -> None:
    if isinstance(shape, tuple):
        if value is None:
            raise BadPod(f"{path}: is missing")
        shape = shape[0]
    elif value is None and path:
        return
    if isinstance(shape, dict):
        if not isinstance(value, Mapping):
            raise BadPod(f"{path or 'the pod'}: must be a mapping, not {value!r}")
        for key, inner in shape.items():
            _check(value.get(key), inner, f"{path}.{key}" if path else key)
    elif isinstance(shape, list):
        if not isinstance(value, list):
            raise BadPod(f"{path}: must be a list, not {value!r}")
        for index, item in enumerate(value):
            if item is None:
                raise BadPod(f"{path}[{index}]: must not be null")
            _check(item, shape[0], f"{path}[{index}]")
    elif not isinstance(value, shape) or (shape is int and isinstance(value, bool)):
        raise BadPod(f"{path}: must be {_NOUNS[shape]}, not {value!r}")
