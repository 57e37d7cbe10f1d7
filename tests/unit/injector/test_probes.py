import copy

import pytest

from injector.pod import BadPod
from injector.probes import restore, rewrite
from tests.support.injector_pods import app

HTTP = {"httpGet": {"path": "/ready", "port": "web", "scheme": "HTTPS", "httpHeaders": [{"name": "a", "value": "b"}]}, "timeoutSeconds": 2, "periodSeconds": 3}


def test_http_probe_goes_to_the_proxy_and_its_original_with_the_port_resolved_to_the_probers() -> None:
    container, probers = rewrite(app(readinessProbe=HTTP))
    assert container["readinessProbe"] == {
        "httpGet": {"path": "/app-health/reviews/readyz", "port": 15020, "httpHeaders": [{"name": "a", "value": "b"}]},
        "timeoutSeconds": 2,
        "periodSeconds": 3,
    }
    assert probers == {"/app-health/reviews/readyz": {"httpGet": {**HTTP["httpGet"], "port": 9080}, "timeoutSeconds": 2}}


@pytest.mark.parametrize("handler", [{"tcpSocket": {"port": 9080}}, {"grpc": {"port": 9080, "service": "x"}}])
def test_tcp_and_grpc_probes_become_http_probes_of_the_proxy(handler: dict[str, object]) -> None:
    container, probers = rewrite(app(livenessProbe={**handler, "failureThreshold": 3}))
    assert container["livenessProbe"] == {"httpGet": {"path": "/app-health/reviews/livez", "port": 15020}, "failureThreshold": 3}
    assert probers == {"/app-health/reviews/livez": handler}


def test_http_hooks_are_rewritten_and_exec_is_left_alone() -> None:
    container, probers = rewrite(app(lifecycle={"preStop": {"httpGet": {"path": "/bye", "port": 80}}, "postStart": {"exec": {"command": ["x"]}}}))
    assert container["lifecycle"]["preStop"] == {"httpGet": {"path": "/app-lifecycle/reviews/prestopz", "port": 15020}}
    assert container["lifecycle"]["postStart"] == {"exec": {"command": ["x"]}}
    assert probers == {"/app-lifecycle/reviews/prestopz": {"httpGet": {"path": "/bye", "port": 80}}}


@pytest.mark.parametrize(
    "probe",
    [{"exec": {"command": ["x"]}}, {"httpGet": {"path": "/", "port": 80, "host": "198.18.0.9"}}, {"tcpSocket": {"port": 80, "host": "198.18.0.9"}}],
)
def test_exec_and_other_hosts_are_not_rewritten(probe: dict[str, object]) -> None:
    container = app(startupProbe=probe)
    assert rewrite(container) == (container, {})


def test_restore_is_the_inverse_but_for_names_of_ports() -> None:
    original = app(readinessProbe=copy.deepcopy(HTTP), livenessProbe={"tcpSocket": {"port": 1}}, lifecycle={"preStop": {"httpGet": {"path": "/", "port": 80}}})
    before = copy.deepcopy(original)
    rewritten, probers = rewrite(original)
    assert original == before
    original["readinessProbe"]["httpGet"]["port"] = 9080
    assert restore(rewritten, probers) == original


@pytest.mark.parametrize("port", ["admin", None, 0, 70000, True])
def test_port_that_is_none_is_refused_by_name(port: object) -> None:
    with pytest.raises(BadPod, match=r"container reviews: livenessProbe\.tcpSocket\.port"):
        rewrite(app(livenessProbe={"tcpSocket": {"port": port}}))
