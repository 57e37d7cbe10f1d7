"""Prometheus text."""

from __future__ import annotations

from mesh.control.metrics import MetricsRegistry


def test_text() -> None:
    metrics = MetricsRegistry()
    metrics.count("pilot_k8s_reg_events", (("type", "Pod"), ("event", 'a"b\\c\n')))
    metrics.count("pilot_k8s_reg_events", (("type", "Pod"), ("event", 'a"b\\c\n')), by=2)
    metrics.gauge("pilot_services", 3)
    metrics.observe("pilot_build_time", 0.05)
    metrics.observe("pilot_build_time", 99.0)
    text = metrics.text()
    assert 'pilot_k8s_reg_events{type="Pod",event="a\\"b\\\\c\\n"} 3\n' in text
    assert "# TYPE pilot_services gauge\npilot_services 3\n" in text
    assert 'pilot_build_time_bucket{le="0.01"} 0\npilot_build_time_bucket{le="0.05"} 1\n' in text
    assert 'pilot_build_time_bucket{le="30"} 1\npilot_build_time_bucket{le="+Inf"} 2\n' in text
    assert "pilot_build_time_sum 99.05\npilot_build_time_count 2\n" in text


def test_every_family_has_help_and_type_once() -> None:
    metrics = MetricsRegistry()
    for event in ("add", "update"):
        metrics.count("x_total", (("event", event),))
    assert metrics.text().count("# TYPE x_total counter") == 1
    assert metrics.text().count("# HELP x_total") == 1
