import json
from typing import Any

import pytest

from injector.patch import inject, strip
from injector.pod import BadPod
from injector.proxy_config import ProxyConfig
from injector.settings import NativeSidecar, Settings
from tests.support.injector_pods import app, env_of, named, pod

IDENTITY = ProxyConfig().merged({"controlPlaneAuthPolicy": "MUTUAL_TLS"}, "")
PLAIN = ProxyConfig().merged({"controlPlaneAuthPolicy": "NONE"}, "")


def names(item: dict[str, Any], field: str) -> list[str]:
    return [container["name"] for container in item["spec"].get(field, [])]


def test_classic_proxy_comes_last_and_init_after_the_applications_own() -> None:
    done = inject(pod(initContainers=[{"name": "migrate"}]), "default", Settings()).pod
    assert names(done, "containers") == ["reviews", "triomesh-proxy"]
    assert names(done, "initContainers") == ["migrate", "triomesh-init"]


def test_held_application_starts_after_the_proxy() -> None:
    done = inject(pod(annotations={"proxy.istio.io/config": "holdApplicationUntilProxyStarts: true"}), "default", Settings()).pod
    assert names(done, "containers") == ["triomesh-proxy", "reviews"]


def test_native_proxy_runs_before_the_applications_init_containers() -> None:
    done = inject(pod(initContainers=[{"name": "migrate"}]), "default", Settings(native_sidecar=NativeSidecar.ON)).pod
    assert names(done, "containers") == ["reviews"]
    assert names(done, "initContainers") == ["triomesh-init", "triomesh-proxy", "migrate"]


def test_labels_annotations_and_status_say_what_was_done() -> None:
    meta = inject(pod(), "default", Settings()).pod["metadata"]
    assert meta["labels"]["service.istio.io/canonical-name"] == "reviews"
    assert meta["labels"]["service.istio.io/canonical-revision"] == "v1"
    assert meta["annotations"]["kubectl.kubernetes.io/default-container"] == "reviews"
    status = json.loads(meta["annotations"]["sidecar.triomesh.io/status"])
    assert (status["containers"], status["initContainers"], status["revision"]) == (["triomesh-proxy"], ["triomesh-init"], "default")


@pytest.mark.parametrize(
    ("annotations", "mode"),
    [
        ({"proxy.istio.io/config": "controlPlaneAuthPolicy: MUTUAL_TLS"}, "istio"),
        ({"proxy.istio.io/config": "controlPlaneAuthPolicy: NONE"}, None),
        ({"proxy.istio.io/config": "controlPlaneAuthPolicy: MUTUAL_TLS", "sidecar.istio.io/interceptionMode": "NONE"}, None),
        ({"proxy.istio.io/config": "controlPlaneAuthPolicy: MUTUAL_TLS", "traffic.sidecar.istio.io/includeInboundPorts": ""}, None),
        ({"proxy.istio.io/config": "controlPlaneAuthPolicy: MUTUAL_TLS", "inject.istio.io/templates": "gateway"}, None),
    ],
)
def test_clients_are_told_of_mutual_tls_only_where_a_certificate_answers(annotations: dict[str, str], mode: str | None) -> None:
    done = inject(pod(annotations=annotations), "default", Settings()).pod
    assert done["metadata"]["labels"].get("security.istio.io/tlsMode") == mode
    # Undone, it is not taken for the user's own word.
    assert "security.istio.io/tlsMode" not in strip(done)["metadata"]["labels"]


def test_mutual_tls_that_the_user_disabled_stays_disabled() -> None:
    labels = {"security.istio.io/tlsMode": "disabled"}
    done = inject(pod(labels=labels), "default", Settings(proxy_config=IDENTITY)).pod
    assert done["metadata"]["labels"]["security.istio.io/tlsMode"] == "disabled"
    assert strip(done)["metadata"]["labels"]["security.istio.io/tlsMode"] == "disabled"


def test_mutual_tls_that_nothing_would_answer_is_refused() -> None:
    with pytest.raises(BadPod, match=r"metadata\.labels\.security\.istio\.io/tlsMode: says istio, and nothing in this pod"):
        inject(pod(labels={"security.istio.io/tlsMode": "istio"}), "default", Settings(proxy_config=PLAIN))


def test_volumes_of_the_identity_come_and_go_with_it() -> None:
    with_identity = inject(pod(), "default", Settings(proxy_config=IDENTITY)).pod
    assert [item["name"] for item in with_identity["spec"]["volumes"]] == ["triomesh-state", "triomesh-token", "triomesh-ca-root"]
    without = inject(with_identity, "default", Settings(proxy_config=PLAIN)).pod
    assert without == inject(pod(), "default", Settings(proxy_config=PLAIN)).pod
    assert [item["name"] for item in without["spec"]["volumes"]] == ["triomesh-state"]


def test_scrape_annotations_move_to_the_proxy() -> None:
    own = {"prometheus.io/scrape": "true", "prometheus.io/port": "9080"}
    done = inject(pod(annotations=own), "default", Settings()).pod
    assert done["metadata"]["annotations"]["prometheus.io/port"] == "15020"
    assert done["metadata"]["annotations"]["prometheus.io/path"] == "/stats/prometheus"
    env = env_of(named(done["spec"]["containers"], "triomesh-proxy"))
    assert json.loads(env["TRIOMESH_PROMETHEUS_ANNOTATIONS"]) == {"scrape": "true", "port": "9080", "path": "/metrics"}
    assert strip(done)["metadata"]["annotations"] == own


@pytest.mark.parametrize("notes", [{"prometheus.io/scrape": "false"}, {"prometheus.istio.io/merge-metrics": "false"}])
def test_scraping_is_left_alone_when_the_pod_says_so(notes: dict[str, str]) -> None:
    done = inject(pod(annotations=notes), "default", Settings()).pod
    assert "prometheus.io/port" not in done["metadata"]["annotations"]


def test_own_proxy_container_customises_ours() -> None:
    partial = {"name": "istio-proxy", "image": "auto", "env": [{"name": "X", "value": "1"}], "resources": {"limits": {"cpu": "3"}}}
    done = inject(pod(app(), partial), "default", Settings()).pod
    assert names(done, "containers") == ["reviews", "triomesh-proxy"]
    proxy = named(done["spec"]["containers"], "triomesh-proxy")
    assert proxy["image"] == Settings().proxy_image
    assert env_of(proxy)["X"] == "1"
    assert proxy["resources"]["limits"] == {"cpu": "3", "memory": "1024Mi"}
    assert partial in strip(done)["spec"]["containers"]


def test_gateway_template_fills_in_the_proxy_and_may_bind_low_ports() -> None:
    partial = {"name": "istio-proxy", "image": "auto", "ports": [{"containerPort": 80}]}
    done = inject(pod(partial, annotations={"inject.istio.io/templates": "gateway"}), "default", Settings()).pod
    assert names(done, "containers") == ["triomesh-proxy"]
    assert "initContainers" not in done["spec"]
    assert done["spec"]["containers"][0]["args"] == ["router"]
    assert done["spec"]["securityContext"]["sysctls"] == [{"name": "net.ipv4.ip_unprivileged_port_start", "value": "0"}]
    assert "securityContext" not in strip(done)["spec"]


def test_probes_of_native_application_sidecars_are_rewritten_too() -> None:
    helper = {"name": "helper", "restartPolicy": "Always", "startupProbe": {"tcpSocket": {"port": 1}}}
    done = inject(pod(initContainers=[helper]), "default", Settings()).pod
    assert done["spec"]["initContainers"][0]["startupProbe"]["httpGet"]["path"] == "/app-health/helper/startupz"


def test_injection_with_a_new_image_replaces_the_old_one() -> None:
    once = inject(pod(), "default", Settings()).pod
    twice = inject(once, "default", Settings(proxy_image="triomesh/proxy:9")).pod
    assert named(twice["spec"]["containers"], "triomesh-proxy")["image"] == "triomesh/proxy:9"
    assert names(twice, "containers") == ["reviews", "triomesh-proxy"]


def test_application_that_runs_as_the_proxys_user_is_warned_of() -> None:
    assert inject(pod(app(securityContext={"runAsUser": 1337})), "default", Settings()).warnings == (
        "container reviews runs as user 1337, the proxy's: its traffic is not captured",
    )


def test_unreadable_status_is_refused() -> None:
    with pytest.raises(BadPod, match=r"annotation sidecar\.triomesh\.io/status: is not JSON"):
        inject(pod(annotations={"sidecar.triomesh.io/status": "{"}), "default", Settings())


def test_volume_that_is_taken_is_refused() -> None:
    taken = pod(annotations={"sidecar.istio.io/userVolume": '{"v": {}}'}, volumes=[{"name": "v"}])
    with pytest.raises(BadPod, match=r"spec\.volumes: 'v' is to be added for the proxy, and the pod already has"):
        inject(taken, "default", Settings())


def test_input_is_not_changed() -> None:
    item = pod(app(readinessProbe={"httpGet": {"port": "web"}}), annotations={"a": "b"})
    before = json.dumps(item)
    inject(item, "default", Settings())
    assert json.dumps(item) == before
