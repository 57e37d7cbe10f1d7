from __future__ import annotations

from mesh.sandbox.apiserver.metrics import Metrics


def test_exposition() -> None:
    metrics = Metrics()
    metrics.observe_request("get", "pods", "", 200, 0.01)
    metrics.observe_request("get", "pods", "", 200, 20)
    metrics.observe_request("watch", "pods", "", 200, 100)
    metrics.observe_hook('a"b', "error", 0.2)
    text = metrics.text({"triomesh_x": 3})
    assert 'apiserver_request_total{verb="get",resource="pods",subresource="",code="200"} 2' in text
    assert 'apiserver_request_duration_seconds_bucket{verb="get",resource="pods",le="0.025"} 1' in text
    assert 'apiserver_request_duration_seconds_bucket{verb="get",resource="pods",le="+Inf"} 2' in text
    assert 'duration_seconds_count{verb="watch"' not in text and 'name="a\\"b",outcome="error",le="0.5"} 1' in text
    assert text.endswith("triomesh_x 3\n")


def test_promtool_accepts_it() -> None:
    import shutil
    import subprocess

    import pytest

    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("promtool is not on PATH")
    metrics = Metrics()
    metrics.observe_request("get", "pods", "", 200, 0.01)
    metrics.observe_hook("a.b.c", "allowed", 0.2)
    done = subprocess.run([promtool, "check", "metrics"], input=metrics.text({"triomesh_x": 3}), capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
