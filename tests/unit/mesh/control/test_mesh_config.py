"""Mesh config and a node's share of it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from mesh.control.kube.objects import ConfigMap, Meta
from mesh.control.mesh_config import JSON_FORMAT, MeshConfig, ProxySettings, mesh_config, node_settings
from mesh.model.listener import AccessLog
from tests.support.world import ROOT, manifests

META = Meta("ConfigMap", "triomesh-system", "triomesh")
DEFAULT = MeshConfig()


def parse(text: str) -> tuple[MeshConfig, list[str]]:
    config, problems = mesh_config(ConfigMap(META, {"mesh": text}), "triomesh-system")
    return config, [problem.field for problem in problems]


def test_defaults() -> None:
    assert mesh_config(None, "triomesh-system") == (DEFAULT, ())
    assert parse("") == (DEFAULT, [])
    assert ProxySettings().access_logs() == (AccessLog("/dev/stdout", json=JSON_FORMAT),)


def test_everything_set() -> None:
    config, problems = parse(
        "{accessLogFile: /dev/stderr, accessLogEncoding: TEXT, connectTimeout: 3s, enableAutoMtls: false, "
        "outboundTrafficPolicy: {mode: REGISTRY_ONLY}, ingressSelector: {istio: edge}, "
        "defaultConfig: {discoveryAddress: x, tracing: {sampling: 100, otlp: 'collector:4317'}}}"
    )
    assert problems == []
    assert config.proxy == ProxySettings("/dev/stderr", False, 100.0, "collector:4317")
    assert (config.registry_only, config.connect_timeout_seconds, config.ingress_selector) == (True, 3.0, (("istio", "edge"),))


def test_identities() -> None:
    assert (DEFAULT.trust_domain, DEFAULT.auto_mtls) == ("cluster.local", True)
    config, problems = parse("{trustDomain: shop.example, enableAutoMtls: false}")
    assert (config.trust_domain, config.auto_mtls, problems) == ("shop.example", False, [])


def test_default_configs_access_log_wins_over_the_mesh_wide_words() -> None:
    config, problems = parse("{accessLogFile: /dev/stdout, defaultConfig: {accessLog: {path: '', format: TEXT}}}")
    assert problems == []
    assert (config.proxy.access_log_path, config.proxy.access_log_json) == ("", False)


@pytest.mark.parametrize(
    ("text", "field"),
    [
        ("{a: [", "data.mesh"),
        ("[]", "mesh"),
        ("accessLogEncoding: XML", "mesh.accessLogEncoding"),
        ("defaultConfig: {tracing: {sampling: 101}}", "mesh.defaultConfig.tracing.sampling"),
        ("defaultConfig: {tracing: {otlp: nowhere}}", "mesh.defaultConfig.tracing.otlp"),
        ("defaultConfig: {accessLog: {format: XML}}", "mesh.defaultConfig.accessLog.format"),
        ("defaultConfig: {accessLog: {paths: /x}}", "mesh.defaultConfig.accessLog.paths"),
        ("defaultConfig: {zipkin: {}}", "mesh.defaultConfig.zipkin"),
        ("defaultConfig: {concurrency: 4}", "mesh.defaultConfig.concurrency"),
        ("connectTimeout: soon", "mesh.connectTimeout"),
        ("enableAutoMtls: maybe", "mesh.enableAutoMtls"),
        ("trustDomain: Not/One", "mesh.trustDomain"),
        ("unheardOf: 1", "mesh.unheardOf"),
    ],
)
def test_a_mistake_costs_itself_only(text: str, field: str) -> None:
    assert parse(text) == (DEFAULT, [field])


def test_the_other_fields_of_a_config_with_a_mistake_hold() -> None:
    config, problems = parse("{connectTimeout: soon, accessLogFile: ''}")
    assert (config.proxy.access_log_path, problems) == ("", ["mesh.connectTimeout"])


def test_our_proxy_names_the_object_that_decided() -> None:
    # Istio's keys, and two of our own; an Envoy prints the second as an object.
    formats = dict(JSON_FORMAT)
    assert (formats["trace_id"], formats["route_origin"]) == ("%TRACE_ID%", "%METADATA(ROUTE:triomesh.io)%")
    assert list(JSON_FORMAT) == sorted(JSON_FORMAT)


@pytest.mark.parametrize("name", ["manifests/10-config.yaml", "sandbox/config.yaml"])
def test_the_charts_own_config_is_clean(name: str) -> None:
    text = (ROOT / "charts" / "triomesh" / name).read_text().replace("${OTLP}", "127.0.0.1:4317")
    (item,) = [m for m in manifests(text) if m["metadata"]["name"] == "triomesh"]
    _, problems = mesh_config(ConfigMap(META, item["data"]), "triomesh-system")
    assert problems == ()


@pytest.mark.parametrize(
    ("proxy_config", "expected"),
    [
        (None, ProxySettings()),
        ({"tracing": {"sampling": 50, "otlp": "c:1"}}, ProxySettings(sampling_percent=50, otlp="c:1")),
        ({"accessLog": {"path": "", "format": "TEXT"}}, ProxySettings(access_log_path="", access_log_json=False)),
        ({"tracing": {"sampling": 0}, "concurrency": 1}, ProxySettings(sampling_percent=0)),
    ],
)
def test_a_nodes_own_settings_win(proxy_config: Any, expected: ProxySettings) -> None:
    assert node_settings(ProxySettings(), proxy_config) == (expected, ())


def test_what_a_node_did_not_set_is_the_meshs() -> None:
    base = ProxySettings("/dev/stderr", False, 7, "c:1")
    assert node_settings(base, {"discoveryAddress": "x:1", "tracing": {"otlp": ""}}) == (replace(base, otlp=""), ())
    assert node_settings(base, {"accessLog": {"format": "JSON"}}) == (replace(base, access_log_json=True), ())


def test_unusable_node_settings_keep_the_meshs() -> None:
    base = replace(ProxySettings(), sampling_percent=7)
    settings, problems = node_settings(base, {"tracing": {"sampling": "all"}})
    assert settings == base
    assert problems and problems[0].startswith("PROXY_CONFIG.tracing.sampling")
