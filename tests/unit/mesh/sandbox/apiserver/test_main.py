from __future__ import annotations

from pathlib import Path

import pytest

from mesh.sandbox.apiserver.main import arguments, main


def test_command_line(capsys: pytest.CaptureFixture[str]) -> None:
    found = arguments(["--state", "/x", "--listen-fd", "3", "--listen-fd", "4"])
    assert (found.state, found.listen_fd, found.history) == (Path("/x"), [3, 4], 5000)
    with pytest.raises(SystemExit):
        arguments(["--state", "/x"])
    assert "--listen-fd" in capsys.readouterr().err


def test_bad_descriptor_is_named(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match="--listen-fd 999: not an open socket"):
        main(["--state", str(tmp_path), "--listen-fd", "999"])
