"""What the injector writes is what the proxy, the init container and the charts read: both sides of ARCHITECTURE.md's seams."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from injector.capture import Capture, parse_arguments
from injector.patch import inject
from injector.proxy_config import LOG_LEVELS, ProxyConfig
from injector.settings import Settings, parse_settings
from mesh.control.mesh_config import ProxySettings, node_settings
from mesh.proxy import bootstrap
from mesh.proxy.bootstrap import Role
from tests.support.injector_pods import app, named, pod

ROOT = Path(__file__).resolve().parents[2]


def kubelet(container: dict[str, Any], fields: dict[str, str]) -> dict[str, str]:
    """The environment as a kubelet would make it: field references, then $(NAME) and $$."""
    values: dict[str, str] = {}
    for item in container["env"]:
        if "value" not in item:
            reference = item["valueFrom"]
            values[item["name"]] = fields[reference.get("fieldRef", reference.get("configMapKeyRef", {})).get("fieldPath", "configMap")]
            continue
        text = item["value"].replace("$$", "\0")
        for name, value in values.items():
            text = text.replace(f"$({name})", value)
        values[item["name"]] = text.replace("\0", "$")
    return values


FIELDS = {
    "metadata.name": "reviews-v1-5d8-x", "metadata.namespace": "default", "status.podIP": "198.18.0.7", "status.hostIP": "198.18.0.1",
    "spec.nodeName": "n", "spec.serviceAccountName": "bookinfo-reviews",
}  # fmt: skip


def injected(item: dict[str, Any], settings: Settings | None = None) -> dict[str, Any]:
    return named(inject(item, "default", settings or Settings()).pod["spec"]["containers"], "triomesh-proxy")


def test_proxy_reads_what_the_injector_wrote() -> None:
    probed = app(readinessProbe={"httpGet": {"path": "/ready", "port": "web"}}, livenessProbe={"tcpSocket": {"port": 9080}}, startupProbe={"grpc": {"port": 1}})
    item = pod(probed, annotations={"prometheus.io/scrape": "true", "prometheus.io/port": "9080", "text": "$(HOME) $x"})
    read = bootstrap.read_environment(kubelet(injected(item), FIELDS), Role.SIDECAR)
    assert read.node.id == "sidecar~198.18.0.7~reviews-v1-5d8-x.default~default.svc.cluster.local"
    assert read.node.metadata["NAME"] == "reviews-v1-5d8-x"
    assert read.node.metadata["WORKLOAD_NAME"] == "reviews-v1"
    assert read.node.metadata["ANNOTATIONS"]["text"] == "$(HOME) $x"


@pytest.mark.parametrize("level", LOG_LEVELS)
def test_every_log_level_that_the_injector_admits_is_understood(level: str) -> None:
    read = bootstrap.read_environment(kubelet(injected(pod(annotations={"sidecar.istio.io/logLevel": level})), FIELDS), Role.SIDECAR)
    assert read.log_level == level


def test_settings_of_the_charts_are_read_and_reach_the_proxy() -> None:
    for directory, otlp in (("manifests/10-config.yaml", ""), ("sandbox/config.yaml", "c.triomesh-system.svc:4317")):
        text = (ROOT / "charts/triomesh" / directory).read_text().replace("${VERSION}", "0.1.0").replace("${OTLP}", "c.triomesh-system.svc:4317")
        maps = {item["metadata"]["name"]: item["data"] for item in yaml.safe_load_all(text)}
        settings = parse_settings(maps.get("triomesh-injector", {}).get("config", ""), maps["triomesh"]["mesh"])
        read = bootstrap.read_environment(kubelet(injected(pod(), settings), FIELDS), Role.SIDECAR)
        # The collector is known from the start; access log and sampling are the control plane's to say, live.
        assert (read.telemetry.otlp, read.telemetry.default_access_log) == (otlp, None)
        assert node_settings(ProxySettings(), read.node.metadata["PROXY_CONFIG"]) == (ProxySettings(), ())
        # The gateway is not injected; its own configuration must be one that the injector would have written.
        written = settings.proxy_config.to_json()
        gateway = json.loads(maps["triomesh-gateway"]["proxyConfig"])
        assert ProxyConfig().merged(gateway, "gateway").to_json() == written


def test_the_pods_own_telemetry_wins_and_the_rest_is_the_meshs() -> None:
    item = pod(annotations={"proxy.istio.io/config": "tracing: {sampling: 3}\naccessLog: {format: TEXT}"})
    read = bootstrap.read_environment(kubelet(injected(item), FIELDS), Role.SIDECAR)
    for mesh in (ProxySettings(), ProxySettings("/dev/stderr", True, 50, "c:1")):
        wanted = replace(mesh, sampling_percent=3, access_log_json=False)
        assert node_settings(mesh, read.node.metadata["PROXY_CONFIG"]) == (wanted, ())


def test_gateway_deployment_is_read_by_the_proxy() -> None:
    text = (ROOT / "charts/triomesh/manifests/40-ingressgateway.yaml").read_text().replace("${VERSION}", "0.1.0")
    (deployment,) = [item for item in yaml.safe_load_all(text) if item["kind"] == "Deployment"]
    container = deployment["spec"]["template"]["spec"]["containers"][0]
    fields = {**FIELDS, "metadata.name": "gw-1", "metadata.namespace": "triomesh-system", "configMap": json.dumps(ProxyConfig().to_json())}
    read = bootstrap.read_environment(kubelet(container, fields), Role.ROUTER)
    assert read.node.id == "router~198.18.0.7~gw-1.triomesh-system~triomesh-system.svc.cluster.local"
    assert read.node.labels["istio"] == "ingressgateway"
    template = inject(pod(annotations={"inject.istio.io/templates": "gateway"}), "default", Settings()).pod["spec"]["containers"][0]
    for field in ("args", "startupProbe", "readinessProbe", "securityContext"):
        assert container[field] == template[field], f"{field} has drifted from the injector's gateway template"


def test_init_container_reads_its_arguments() -> None:
    item = pod(annotations={"traffic.sidecar.istio.io/excludeOutboundPorts": "22", "traffic.sidecar.istio.io/includeInboundPorts": "80,443"})
    setup = named(inject(item, "default", Settings()).pod["spec"]["initContainers"], "triomesh-init")
    assert parse_arguments(setup["args"]) == Capture(exclude_outbound_ports=(22,), include_inbound_ports=(80, 443))
