"""What the injector writes is what the proxy, the init container and the charts read: both sides of ARCHITECTURE.md's seams."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from injector.capture import Capture, parse_arguments
from injector.patch import inject
from injector.proxy_config import LOG_LEVELS, ProxyConfig
from injector.settings import Settings, parse_settings
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
    for directory, sampling in (("manifests/10-config.yaml", 1), ("sandbox/config.yaml", 100)):
        text = (ROOT / "charts/triomesh" / directory).read_text().replace("${VERSION}", "0.1.0").replace("${OTLP}", "c.triomesh-system.svc:4317")
        maps = {item["metadata"]["name"]: item["data"] for item in yaml.safe_load_all(text)}
        settings = parse_settings(maps.get("triomesh-injector", {}).get("config", ""), maps["triomesh"]["mesh"])
        assert (settings.proxy_config.sampling_percent, settings.proxy_config.access_log_path) == (sampling, "/dev/stdout")
        bootstrap.read_environment(kubelet(injected(pod(), settings), FIELDS), Role.SIDECAR)
        # The gateway is not injected; its own configuration must be one that the injector would have written.
        assert ProxyConfig().merged(json.loads(maps["triomesh-gateway"]["proxyConfig"]), "gateway") == settings.proxy_config


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
