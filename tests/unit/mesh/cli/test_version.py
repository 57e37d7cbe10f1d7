"""meshctl version."""

import json

from mesh import __version__
from mesh.cli.main import run


def test_the_client_s_version_needs_no_server(capsys):
    assert run(["version", "--client", "-o", "json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"client": __version__}


def test_without_a_server_the_client_s_version_is_still_printed(tmp_path, capsys):
    assert run(["version", "--kubeconfig", str(tmp_path / "none")]) == 0
    out = capsys.readouterr().out
    assert __version__ in out and "unreachable" in out
