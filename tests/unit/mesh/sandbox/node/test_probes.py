"""When a probe turns."""

import pytest

from mesh.sandbox.node.probes import Verdict, parse_probe, resolve_port

PROBE = parse_probe({"httpGet": {"port": 1}, "failureThreshold": 2, "successThreshold": 2})


def test_defaults_are_the_apis() -> None:
    spec = parse_probe({"tcpSocket": {"port": 1}})
    assert (spec.initial_delay, spec.period, spec.timeout, spec.success_threshold, spec.failure_threshold) == (0, 10, 1, 1, 3)


def test_only_results_in_a_row_turn_it() -> None:
    verdict = Verdict(PROBE, passing=False)
    seen = []
    for good in (True, False, True, True, False, True, False, False):
        verdict.add(good)
        seen.append(verdict.passing)
    assert seen == [False, False, False, True, True, True, True, False]
    assert verdict.failed


def test_a_liveness_probe_passes_until_it_fails() -> None:
    verdict = Verdict(PROBE, passing=True)
    assert [verdict.add(False), verdict.add(False), verdict.add(False)] == [False, True, False]


def test_ports_go_by_number_or_name() -> None:
    container = {"name": "c", "ports": [{"name": "http", "containerPort": 80}]}
    assert [resolve_port(port, container) for port in (1, "http", "81")] == [1, 80, 81]
    with pytest.raises(ValueError, match="couldn't find port: 'none'"):
        resolve_port("none", container)
