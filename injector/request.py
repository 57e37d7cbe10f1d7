"""Request: what one pod asks of its sidecar, its annotations parsed and validated before anything is built.

An annotation that cannot be honoured denies the pod's admission, with the annotation and its value in the message:
a proxy that silently runs with something else is found much later and at a higher price.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import Enum
from typing import Any

from injector import capture, keys, pod
from injector.capture import BadCapture, Capture
from injector.fields import BadField, quantity
from injector.keys import Given
from injector.pod import BadPod, Json
from injector.proxy_config import LOG_LEVELS, ProxyConfig, concurrency_warning
from injector.settings import NativeSidecar, Settings

_RESOURCES = {
    "proxyCPU": ("requests", "cpu"),
    "proxyMemory": ("requests", "memory"),
    "proxyCPULimit": ("limits", "cpu"),
    "proxyMemoryLimit": ("limits", "memory"),
}


class Template(Enum):
    """What is injected: a sidecar, or the whole proxy of a gateway."""

    SIDECAR = "sidecar"
    GATEWAY = "gateway"


@dataclass(frozen=True, slots=True)
class Request:
    """A pod's wishes merged with the settings. `capture` is None when nothing is to be intercepted (mode NONE)."""

    template: Template
    config: ProxyConfig
    image: str
    native: bool
    capture: Capture | None
    resources: Json
    rewrite_probes: bool
    merge_prometheus: bool
    volumes: tuple[Json, ...] = ()
    mounts: tuple[Json, ...] = ()
    warnings: tuple[str, ...] = ()


def read(pod_object: Mapping[str, Any], settings: Settings) -> Request:
    """The Request of a pod. Raises: BadPod: an annotation that cannot be honoured; the message names it and its value."""
    notes = pod.annotations(pod_object)
    ours, foreign = keys.unknown(notes)
    if ours:
        raise BadPod(f"annotation {ours[0]}: is not known to this version of Triomesh; remove it or correct its name")
    template = _template(notes)
    return Request(
        template=template,
        config=_config(notes, settings),
        image=_text(keys.find(notes, keys.SIDECAR, "proxyImage"), settings.proxy_image),
        native=_native(notes, settings) and template is Template.SIDECAR,
        capture=_capture(notes) if template is Template.SIDECAR else None,
        resources=_resources(notes, settings, pod.is_guaranteed(pod_object)),
        rewrite_probes=_flag(keys.find(notes, keys.SIDECAR, "rewriteAppHTTPProbers"), settings.rewrite_probes),
        merge_prometheus=_flag(keys.find(notes, keys.PROMETHEUS, "merge-metrics"), settings.merge_prometheus),
        volumes=_user_volumes(notes),
        mounts=_user_mounts(notes),
        warnings=(*(f"annotation {key}: Triomesh has no such setting; it has no effect" for key in foreign), *_concurrency(notes)),
    )


def _template(notes: Mapping[str, str]) -> Template:
    given = keys.find(notes, keys.TEMPLATES, "templates")
    if given is None:
        return Template.SIDECAR
    try:
        return Template(given.value.strip())
    except ValueError:
        raise BadPod(f"annotation {given}: must be sidecar or gateway") from None


def _config(notes: Mapping[str, str], settings: Settings) -> ProxyConfig:
    config = settings.proxy_config
    if given := keys.find(notes, keys.PROXY, "config"):
        try:
            config = config.merged_yaml(given.value, f"annotation {given.key}")
        except BadField as exc:
            raise BadPod(str(exc)) from exc
    if level := keys.find(notes, keys.SIDECAR, "logLevel"):
        if level.value not in LOG_LEVELS:
            raise BadPod(f"annotation {level}: must be one of {', '.join(LOG_LEVELS)}")
        config = replace(config, log_level=level.value)
    return config


def _concurrency(notes: Mapping[str, str]) -> tuple[str, ...]:
    """The warning of an annotation that asks for more than one worker. Istio's files do so; it is no reason to refuse a pod."""
    given = keys.find(notes, keys.PROXY, "config")
    warning = concurrency_warning(ProxyConfig().merged_yaml(given.value, given.key).concurrency) if given else ""
    return (f"annotation {given.key}: {warning}",) if given and warning else ()


def _native(notes: Mapping[str, str], settings: Settings) -> bool:
    match settings.native_sidecar:
        case NativeSidecar.AUTO:
            default = settings.native_available
        case mode:
            default = mode is NativeSidecar.ON
    return _flag(keys.find(notes, keys.SIDECAR, "nativeSidecar"), default)


def _capture(notes: Mapping[str, str]) -> Capture | None:
    mode = keys.find(notes, keys.SIDECAR, "interceptionMode")
    if mode and mode.value == "NONE":
        return None
    if mode and mode.value == "TPROXY":
        raise BadPod(f"annotation {mode}: TPROXY is not supported by Triomesh; use REDIRECT (the default) or NONE")
    if mode and mode.value != "REDIRECT":
        raise BadPod(f"annotation {mode}: must be REDIRECT or NONE")
    given = {name: found for name in capture.TRAFFIC_ANNOTATIONS if (found := keys.find(notes, keys.TRAFFIC, name))}
    try:
        return capture.from_annotations({name: (item.key, item.value) for name, item in given.items()})
    except BadCapture as exc:
        raise BadPod(str(exc)) from exc


def _resources(notes: Mapping[str, str], settings: Settings, guaranteed: bool) -> Json:
    """Source: Istio: as soon as one of the four annotations is present, the defaults no longer apply.

    A pod of class Guaranteed keeps its class (istio#33283): limits for both resources, requests equal to them.
    """
    result: dict[str, dict[str, str]] = {}
    for suffix, (part, name) in _RESOURCES.items():
        if given := keys.find(notes, keys.SIDECAR, suffix):
            try:
                result.setdefault(part, {})[name] = quantity(given.value, f"annotation {given.key}")
            except BadField as exc:
                raise BadPod(str(exc)) from exc
    if guaranteed:
        fixed = dict(settings.resources.guaranteed)
        fixed |= {**result.get("requests", {}), **result.get("limits", {})}
        return {"requests": dict(fixed), "limits": dict(fixed)}
    return dict(result) or {"requests": dict(settings.resources.requests), "limits": dict(settings.resources.limits)}


def _user_volumes(notes: Mapping[str, str]) -> tuple[Json, ...]:
    return _named(keys.find(notes, keys.SIDECAR, "userVolume"))


def _user_mounts(notes: Mapping[str, str]) -> tuple[Json, ...]:
    return _named(keys.find(notes, keys.SIDECAR, "userVolumeMount"))


def _named(given: Given | None) -> tuple[Json, ...]:
    """Source: Istio: JSON, either a list of named objects or a mapping from the name to the rest."""
    if given is None:
        return ()
    try:
        value = json.loads(given.value)
    except ValueError as exc:
        raise BadPod(f"annotation {given.key}: is not JSON: {exc}") from exc
    if isinstance(value, dict) and all(isinstance(item, dict) for item in value.values()):
        return tuple({"name": name, **item} for name, item in value.items())
    if isinstance(value, list) and all(isinstance(item, dict) and isinstance(item.get("name"), str) for item in value):
        return tuple(value)
    raise BadPod(f"annotation {given}: must be a JSON object by name, or a list of objects that have a name")


def _flag(given: Given | None, default: bool) -> bool:
    if given is None:
        return default
    if given.value not in ("true", "false"):
        raise BadPod(f'annotation {given}: must be "true" or "false"')
    return given.value == "true"


def _text(given: Given | None, default: str) -> str:
    if given is None:
        return default
    if not given.value or any(ch.isspace() for ch in given.value):
        raise BadPod(f"annotation {given}: must be an image name")
    return given.value
