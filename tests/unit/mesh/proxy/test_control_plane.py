from pathlib import Path

import pytest

from mesh.model.addr import Address
from mesh.proxy.control_plane import ControlPlane, NotThereYet

ADDRESS = Address("127.0.0.1", 15012)


def test_without_roots_nobody_in_particular_calls_in_plaintext() -> None:
    plane = ControlPlane(ADDRESS)
    assert not plane.is_secure and plane.credentials() == ()
    plane.open_channel(()).close()


def test_files_are_read_at_every_use(tmp_path: Path) -> None:
    plane = ControlPlane(ADDRESS, tmp_path / "roots", tmp_path / "token")
    assert plane.is_secure
    for content in ("a", "b\n"):
        (tmp_path / "token").write_text(content)
        assert plane.credentials() == (("authorization", f"Bearer {content.strip()}"),)
        (tmp_path / "roots").write_text(content)
        assert plane.read_roots() == content.encode()


def test_what_is_missing_or_empty_is_named(tmp_path: Path) -> None:
    plane = ControlPlane(ADDRESS, tmp_path / "roots", tmp_path / "token")
    with pytest.raises(NotThereYet, match=r"roots.*No such file.*triomesh-ca-root-cert"):
        plane.open_channel(())
    (tmp_path / "token").write_text(" \n")
    with pytest.raises(NotThereYet, match=r"token.*is empty.*kubelet"):
        plane.credentials()
