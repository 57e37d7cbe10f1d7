"""Volumes on disk."""

import os
from pathlib import Path

import pytest

from mesh.sandbox.node.volumefiles import make_directory, remove_tree, sub_path, write_files
from mesh.sandbox.node.volumes import Directory, File


def test_files_are_replaced_all_at_once(tmp_path: Path) -> None:
    volume = tmp_path / "v"
    assert write_files(volume, {"a": File(b"1", 0o644), "d/b": File(b"2", 0o600)}, None)
    before = os.readlink(volume / "..data")
    assert (volume / "d/b").read_bytes() == b"2"
    assert not write_files(volume, {"a": File(b"1", 0o644), "d/b": File(b"2", 0o600)}, None)
    assert write_files(volume, {"a": File(b"3", 0o644)}, None)
    assert (volume / "a").read_bytes() == b"3"
    assert not (volume / "d").exists() and not (volume / before).exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root (chown)")
def test_a_private_file_is_its_users_and_its_groups(tmp_path: Path) -> None:
    def seen(file: File, group: int | None) -> tuple[int, int, int]:
        name = f"{file.user}-{group}"
        write_files(tmp_path / name, {"a": file}, group)
        found = (tmp_path / name / "a").stat()
        return found.st_mode & 0o777, found.st_uid, found.st_gid

    assert seen(File(b"", 0o600, 7), None) == (0o600, 7, 0)
    assert seen(File(b"", 0o600), 9) == (0o640, 0, 9)
    assert seen(File(b"", 0o600, 7), 9) == (0o640, 7, 9)


def test_a_directory_is_everybodys(tmp_path: Path) -> None:
    make_directory(tmp_path / "v", Directory(False, ""), None)
    assert (tmp_path / "v").stat().st_mode & 0o777 == 0o777


def test_a_sub_path_stays_inside(tmp_path: Path) -> None:
    assert sub_path(tmp_path, "a/b", directory=True).is_dir()
    (tmp_path / "out").symlink_to("/etc")
    for relative in ("..", "a/../../x", "out"):
        with pytest.raises(ValueError, match="leads out"):
            sub_path(tmp_path, relative, directory=True)


def test_removing_what_is_gone_is_no_error(tmp_path: Path) -> None:
    remove_tree(tmp_path / "none")
