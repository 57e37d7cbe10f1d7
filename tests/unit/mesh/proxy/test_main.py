import socket
from pathlib import Path

import pytest

from mesh.proxy import main as proxy_main


def test_the_verbs() -> None:
    parser = proxy_main._parser()
    options = parser.parse_args(["sidecar"])
    assert (options.verb, options.config, options.status) == ("sidecar", None, False)
    options = parser.parse_args(["router", "--config", "x.yaml", "--status"])
    assert (options.config, options.status) == (Path("x.yaml"), True)
    assert parser.parse_args(["wait"]).timeout == 60.0


@pytest.mark.parametrize("arguments", [[], ["serve"], ["request", "PUT", "/"], ["wait", "--timeout", "soon"]])
def test_wrong_usage_is_code_2(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        proxy_main.main(arguments)
    assert caught.value.code == 2 and "usage:" in capsys.readouterr().err


@pytest.fixture
def dead_port(monkeypatch: pytest.MonkeyPatch):
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))  # not listening
        for name in ("ADMIN_PORT", "READY_PORT"):
            monkeypatch.setattr(proxy_main, name, bound.getsockname()[1])
        yield


def test_waiting_gives_up_with_a_reason(dead_port: None, capsys: pytest.CaptureFixture[str]) -> None:
    assert proxy_main.main(["wait", "--timeout", "0"]) == 1
    assert "not ready after 0 s" in capsys.readouterr().err


def test_asking_nobody_is_an_error(dead_port: None, capsys: pytest.CaptureFixture[str]) -> None:
    assert proxy_main.main(["request", "GET", "/ready"]) == 1
    assert "admin port" in capsys.readouterr().err


def test_an_incomplete_environment_is_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("TRIOMESH_PROXY_CONFIG", raising=False)
    assert proxy_main.main(["sidecar"]) == 1
    assert capsys.readouterr().err.startswith("triomesh-proxy: TRIOMESH_PROXY_CONFIG is not set")
