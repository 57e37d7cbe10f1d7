"""The API server's port on the host, kept over restarts."""

import socket
from pathlib import Path

from mesh.sandbox.apisockets import bind_host, read_port


def test_the_port_of_an_earlier_run_is_kept_when_it_is_free(tmp_path: Path) -> None:
    file = tmp_path / "kubeconfig"
    assert read_port(file) == 0
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        for text in (f"clusters:\n- cluster:\n    server: https://127.0.0.1:{port}\n", f'{{"clusters": [{{"cluster": {{"server": "https://127.0.0.1:{port}", "x": 1}}}}]}}'):
            file.write_text(text)
            assert read_port(file) == port
        with bind_host(port) as other:
            assert other.getsockname()[1] not in (0, port)
    with bind_host(port) as again:
        assert again.getsockname() == ("127.0.0.1", port)
