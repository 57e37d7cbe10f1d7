import pytest

from injector.capture import Capture
from injector.pod import BadPod
from injector.request import Template, read
from injector.settings import NativeSidecar, Settings
from tests.support.injector_pods import app, pod


def test_plain_pod_gets_the_settings() -> None:
    wish = read(pod(), Settings())
    assert wish.template is Template.SIDECAR
    assert wish.capture == Capture()
    assert not wish.native
    assert wish.resources == {"requests": {"cpu": "100m", "memory": "128Mi"}, "limits": {"cpu": "2000m", "memory": "1024Mi"}}
    assert wish.image == Settings().proxy_image


def test_one_resource_annotation_replaces_all_defaults() -> None:
    wish = read(pod(annotations={"sidecar.istio.io/proxyCPU": "10m", "sidecar.triomesh.io/proxyMemoryLimit": "64Mi"}), Settings())
    assert wish.resources == {"requests": {"cpu": "10m"}, "limits": {"memory": "64Mi"}}


def test_class_guaranteed_is_kept() -> None:
    fixed = app(resources={"limits": {"cpu": "1", "memory": "1Gi"}})
    assert read(pod(fixed), Settings()).resources == {"requests": {"cpu": "500m", "memory": "256Mi"}, "limits": {"cpu": "500m", "memory": "256Mi"}}
    asked = read(pod(fixed, annotations={"sidecar.istio.io/proxyCPU": "1", "sidecar.istio.io/proxyCPULimit": "2"}), Settings()).resources
    assert asked["requests"] == asked["limits"] == {"cpu": "2", "memory": "256Mi"}


@pytest.mark.parametrize(
    ("settings", "annotation", "native"),
    [
        (Settings(), None, False),
        (Settings(), "true", True),
        (Settings(native_sidecar=NativeSidecar.ON), None, True),
        (Settings(native_sidecar=NativeSidecar.ON), "false", False),
        (Settings(native_sidecar=NativeSidecar.AUTO), None, False),
        (Settings(native_sidecar=NativeSidecar.AUTO, native_available=True), None, True),
    ],
)
def test_native_by_annotation_else_by_setting(settings: Settings, annotation: str | None, native: bool) -> None:
    notes = {"sidecar.istio.io/nativeSidecar": annotation} if annotation else None
    assert read(pod(annotations=notes), settings).native is native


def test_mode_none_and_gateways_capture_nothing() -> None:
    assert read(pod(annotations={"sidecar.istio.io/interceptionMode": "NONE"}), Settings()).capture is None
    gateway = read(pod(annotations={"inject.istio.io/templates": "gateway"}), Settings())
    assert (gateway.template, gateway.capture) == (Template.GATEWAY, None)


def test_config_annotation_and_log_level_are_laid_over_the_default() -> None:
    notes = {"proxy.istio.io/config": "tracing: {sampling: 3}\nlogLevel: error", "sidecar.istio.io/logLevel": "debug"}
    config = read(pod(annotations=notes), Settings()).config
    assert (config.sampling_percent, config.log_level) == (3, "debug")


@pytest.mark.parametrize("key", ["proxy.istio.io/config", "proxy.triomesh.io/config"])
@pytest.mark.parametrize(("value", "told"), [("2", True), ("0", True), ("1", False)])
def test_concurrency_that_has_no_effect_is_told_not_denied(key: str, value: str, told: bool) -> None:
    found = read(pod(annotations={key: f"concurrency: {value}"}), Settings()).warnings
    assert [text.partition(": ")[0] for text in found] == ([f"annotation {key}"] if told else [])
    assert not told or f"concurrency {value} has no effect" in found[0]


def test_user_volumes_are_lists_or_mappings() -> None:
    wish = read(
        pod(annotations={"sidecar.istio.io/userVolume": '{"v": {"emptyDir": {}}}', "sidecar.istio.io/userVolumeMount": '[{"name": "v", "mountPath": "/v"}]'}),
        Settings(),
    )
    assert wish.volumes == ({"name": "v", "emptyDir": {}},)
    assert wish.mounts == ({"name": "v", "mountPath": "/v"},)


def test_settings_of_istio_that_do_not_exist_here_are_warned_of() -> None:
    assert read(pod(annotations={"sidecar.istio.io/bootstrapOverride": "x"}), Settings()).warnings == (
        "annotation sidecar.istio.io/bootstrapOverride: Triomesh has no such setting; it has no effect",
    )


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("sidecar.istio.io/interceptionMode", "TPROXY", "annotation sidecar.istio.io/interceptionMode='TPROXY': TPROXY is not supported"),
        ("sidecar.istio.io/interceptionMode", "redirect", "must be REDIRECT or NONE"),
        ("traffic.sidecar.istio.io/excludeOutboundIPRanges", "x/8", "annotation traffic.sidecar.istio.io/excludeOutboundIPRanges='x/8': 'x/8' is not a CIDR"),
        ("sidecar.triomesh.io/nativeSidecar", "yes", "annotation sidecar.triomesh.io/nativeSidecar='yes': must be \"true\" or \"false\""),
        ("sidecar.istio.io/proxyMemory", "1GB", "annotation sidecar.istio.io/proxyMemory: must be a quantity"),
        ("sidecar.istio.io/proxyImage", "", "must be an image name"),
        ("sidecar.istio.io/logLevel", "loud", "must be one of trace"),
        ("proxy.istio.io/config", "proxyMetadata: {A: b}", "annotation proxy.istio.io/config.proxyMetadata: unknown field"),
        ("inject.istio.io/templates", "grpc-agent", "must be sidecar or gateway"),
        ("sidecar.istio.io/userVolume", "x", "annotation sidecar.istio.io/userVolume: is not JSON"),
        ("sidecar.istio.io/userVolume", "[1]", "must be a JSON object by name"),
        ("sidecar.triomesh.io/proxycpu", "1", "annotation sidecar.triomesh.io/proxycpu: is not known"),
    ],
)
def test_what_cannot_be_honoured_is_refused_by_name(key: str, value: str, message: str) -> None:
    with pytest.raises(BadPod) as caught:
        read(pod(annotations={key: value}), Settings())
    assert message in str(caught.value)
