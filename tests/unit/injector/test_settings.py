import pytest
import yaml

from injector.fields import BadField
from injector.proxy_config import ProxyConfig
from injector.settings import NEVER_NAMESPACES, NativeSidecar, Settings, parse_settings, to_mapping, with_server_version


def test_empty_text_gives_the_defaults() -> None:
    assert parse_settings("") == Settings()


def test_settings_written_out_read_back() -> None:
    assert parse_settings(yaml.safe_dump(to_mapping(Settings()))) == Settings()


def test_mesh_wide_telemetry_is_not_copied_into_pods() -> None:
    mesh = "accessLogFile: /dev/stdout\naccessLogEncoding: TEXT\ndefaultConfig: {logLevel: debug, accessLog: {path: /x}, tracing: {sampling: 50, otlp: 'c:4317'}}"
    config = parse_settings("", mesh).proxy_config
    assert config == ProxyConfig(log_level="debug", mesh_otlp="c:4317")


def test_concurrency_that_has_no_effect_is_told() -> None:
    found = parse_settings("defaultConfig: {concurrency: 4}", "defaultConfig: {concurrency: 0}").warnings
    assert [text.partition(":")[0] for text in found] == ["mesh.defaultConfig.concurrency=0", "defaultConfig.concurrency=4"]
    assert parse_settings("defaultConfig: {concurrency: 1}", "").warnings == ()


def test_the_injectors_own_telemetry_wins_over_the_meshs() -> None:
    mesh = "accessLogFile: /dev/stdout\naccessLogEncoding: TEXT\noutboundTrafficPolicy: {mode: ALLOW_ANY}\ndefaultConfig: {tracing: {sampling: 50, otlp: 'c:4317'}}"
    config = parse_settings("defaultConfig: {tracing: {sampling: 5}}", mesh).proxy_config
    assert (config.access_log_path, config.access_log_format) == (None, None)
    assert (config.sampling_percent, config.otlp, config.mesh_otlp) == (5, None, "c:4317")


def test_never_namespaces_are_added_to_and_never_replaced() -> None:
    assert parse_settings("neverInjectNamespaces: [vault]").never_namespaces == (*NEVER_NAMESPACES, "vault")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("images: {proxi: x}", "images.proxi: unknown field (known: init, proxy)"),
        ("image: x", "image: unknown field"),
        ("a: [", "config: is not YAML"),
        ("- a", "the document: must be a mapping"),
        ("resources: {limits: {cpu: abc}}", "resources.limits.cpu: must be a quantity"),
        ("resources: {limit: {cpu: 1}}", "resources.limit: unknown field"),
        ("neverInjectSelector: [{matchLabels: {a: 1}}]", "neverInjectSelector[0].matchLabels.a: must be a string"),
        ("alwaysInjectSelector: [{matchExpressions: [{key: a, operator: In}]}]", "alwaysInjectSelector[0].matchExpressions[0].values: operator In needs values"),
        ("defaultConfig: {tracing: {sampling: 101}}", "defaultConfig.tracing.sampling: must be a number in 0..100, not 101"),
        ("nativeSidecars: maybe", "nativeSidecars: must be one of auto, on, off"),
        ("enablePrometheusMerge: 'yes'", "enablePrometheusMerge: must be true or false"),
    ],
)
def test_error_names_the_field(text: str, message: str) -> None:
    with pytest.raises(BadField) as caught:
        parse_settings(text)
    assert message in str(caught.value)


def test_error_in_the_mesh_config_names_its_path() -> None:
    with pytest.raises(BadField, match=r"mesh\.defaultConfig\.zipkin: unknown field"):
        parse_settings("", "defaultConfig: {zipkin: {}}")


@pytest.mark.parametrize(("major", "minor", "available"), [("1", "33", True), ("1", "33+", True), ("1", "32", False), ("2", "0", True), ("", "", False)])
def test_auto_follows_the_server_version(major: str, minor: str, available: bool) -> None:
    settings = with_server_version(parse_settings("nativeSidecars: auto"), major, minor)
    assert (settings.native_sidecar, settings.native_available) == (NativeSidecar.AUTO, available)
