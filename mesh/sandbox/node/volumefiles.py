"""Volumes on disk: directories, tmpfs mounts and files that are replaced all at once.

Files lie as the kubelet lays them: `..data` is a link to a directory of one moment, the visible names are links through
it, so that one rename replaces every file together (kubernetes atomic_writer).
"""

import os
import secrets
import shutil
from collections.abc import Mapping
from pathlib import Path

from mesh.sandbox import linux
from mesh.sandbox.linux import MountFlag
from mesh.sandbox.node.quantity import parse
from mesh.sandbox.node.volumes import Directory, File


def make_directory(path: Path, kind: Directory, group: int | None) -> None:
    """Make an emptyDir, writable for everybody as the kubelet makes it; `group` is the pod's fsGroup."""
    if path.exists():
        return
    path.mkdir(parents=True)
    if kind.memory:
        size = f",size={int(parse(kind.size))}" if kind.size else ""
        linux.mount("tmpfs", str(path), "tmpfs", MountFlag.NOSUID | MountFlag.NODEV, f"mode=777{size}")
    path.chmod(0o777)
    if group is not None:
        os.chown(path, -1, group)
        path.chmod(0o2777)


def write_files(path: Path, files: Mapping[str, File], group: int | None) -> bool:
    """Make the volume contain exactly `files`; returns whether anything changed."""
    path.mkdir(parents=True, exist_ok=True)
    data = path / "..data"
    if data.is_symlink() and _read(data) == {name: file.content for name, file in files.items()}:
        return False
    moment = path / f"..{secrets.token_hex(8)}"
    moment.mkdir(mode=0o755)
    for name, file in files.items():
        target = moment / name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(file.content)
        # fsGroup: the group may read what the owner may (kubelet SetVolumeOwnership)
        target.chmod(file.mode if group is None else file.mode | (file.mode & 0o600) >> 3 & 0o040)
        if group is not None or file.user is not None:
            os.chown(target, -1 if file.user is None else file.user, -1 if group is None else group)
    old = data.resolve() if data.is_symlink() else None
    fresh = path / "..data_tmp"
    fresh.unlink(missing_ok=True)
    fresh.symlink_to(moment.name)
    fresh.rename(data)
    _link_names(path, {name.split("/")[0] for name in files})
    if old is not None:
        shutil.rmtree(old)
    return True


def remove_tree(path: Path) -> None:
    """Remove a directory and whatever is mounted below it."""
    for target in mounts_below(path):
        linux.unmount(target)
    if path.exists():
        shutil.rmtree(path)


def mounts_below(path: Path) -> list[str]:
    """Mount points at or below `path`, the innermost first."""
    prefix = str(path)
    with open("/proc/self/mountinfo", encoding="utf-8") as file:
        targets = [line.split()[4].encode().decode("unicode_escape") for line in file]
    return sorted((t for t in targets if t == prefix or t.startswith(prefix + "/")), key=len, reverse=True)


def sub_path(volume: Path, relative: str, *, directory: bool) -> Path:
    """The place in a volume that a subPath names; a missing one is made.

    Raises: ValueError: it leads out of the volume.
    """
    target = Path(os.path.realpath(volume / relative))
    if not target.is_relative_to(volume.resolve()):
        raise ValueError(f"subPath {relative!r} leads out of the volume")
    if directory and not target.exists():
        target.mkdir(parents=True)
        target.chmod(0o777)
    return target


def _read(data: Path) -> dict[str, bytes]:
    root = data.resolve()
    return {str(item.relative_to(root)): item.read_bytes() for item in root.rglob("*") if item.is_file()}


def _link_names(path: Path, names: set[str]) -> None:
    for item in path.iterdir():
        if item.is_symlink() and not item.name.startswith("..") and item.name not in names:
            item.unlink()
    for name in names:
        link = path / name
        if not link.is_symlink():
            link.symlink_to(f"..data/{name}")
