"""What a container's first process finds: files, devices, mounts, user, capabilities. Through a real runtime."""

import json
import os
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from mesh.sandbox.node.launch import Launch, Mount
from mesh.sandbox.node.runtimeclient import RuntimeFailure
from tests.support.node_runtime import runtime

pytestmark = [pytest.mark.root, pytest.mark.skipif(os.geteuid() != 0, reason="needs root (namespaces, mounts)")]


async def output(directory: Path, script: str, **changed: Any) -> str:
    """What `script` prints as a container."""
    directory.mkdir(exist_ok=True)
    async with runtime(directory) as box:
        await box.start(script, **changed)
        await box.client.wait("u/c/0")
        return box.output()


async def test_a_launch_survives_json(tmp_path: Path) -> None:
    async with runtime(tmp_path) as box:
        made = await box.start("true", mounts=[Mount("/usr/share", "/b", True)])
        assert Launch.from_json(json.loads(json.dumps(asdict(made)))) == made


async def test_devices_are_the_usual_ones(tmp_path: Path) -> None:
    text = await output(tmp_path, "ls /dev | tr '\\n' ' '; head -c 3 /dev/zero | wc -c; echo lost >/dev/null; stat -fc %T /dev/shm")
    assert text == "fd full null ptmx pts random shm stderr stdin stdout tty urandom zero 3\ntmpfs\n"


async def test_user_groups_and_capabilities_are_the_specs(tmp_path: Path) -> None:
    script = "id -u; id -g; id -G; grep -E 'CapBnd|CapEff|NoNewPrivs' /proc/self/status | cut -f2"
    text = await output(tmp_path, script, uid=0, gid=7, groups=[7, 9], capabilities=["CHOWN", "KILL"], no_new_privileges=False)
    assert text.split() == ["0", "7", "7", "9", "0000000000000021", "0000000000000021", "0"]
    text = await output(tmp_path / "other", script)
    assert text.split() == ["1337", "1337", "1337", "0000000000000000", "0000000000000400", "1"]


async def test_mounts_show_what_they_name_and_only_writable_ones_take_writes(tmp_path: Path) -> None:
    for name in ("ro", "rw"):
        (tmp_path / "v" / name).mkdir(parents=True)
        (tmp_path / "v" / name).chmod(0o777)
        (tmp_path / "v" / name / "file").write_text(name)
    mounts = [Mount(str(tmp_path / "v/ro"), "/deep/er/ro", True), Mount(str(tmp_path / "v/rw"), "/rw", False), Mount(str(tmp_path / "v/ro/file"), "/one/file", True)]
    script = "cat /deep/er/ro/file /one/file; echo; touch /deep/er/ro/x 2>/dev/null || echo refused; echo new >/rw/new"
    assert await output(tmp_path, script, mounts=mounts, hide=[]) == "roro\nrefused\n"
    assert (tmp_path / "v/rw/new").read_text() == "new\n"


async def test_the_hosts_secrets_and_kernel_settings_are_out_of_reach(tmp_path: Path) -> None:
    assert os.listdir("/usr/share")
    text = await output(tmp_path, "ls /usr/share 2>&1 | wc -l; echo 1 2>/dev/null >/proc/sys/kernel/panic || echo refused; mount | grep -c triomesh-old", uid=0, hide=["/usr/share"])
    assert text == "0\nrefused\n0\n"


async def test_files_of_the_pod_replace_links_of_the_host(tmp_path: Path) -> None:
    text = await output(tmp_path, "cat /etc/resolv.conf; stat -c %a /etc/resolv.conf; test -L /etc/resolv.conf || echo file", files={"/etc/resolv.conf": "nameserver 198.19.0.10\n"})
    assert text == "nameserver 198.19.0.10\n644\nfile\n"


async def test_a_working_directory_is_made_and_limits_are_told(tmp_path: Path) -> None:
    text = await output(tmp_path, "pwd; umask; df -B1 --output=size /dev/shm | tail -1", cwd="/made/for/it", shm_bytes=65536)
    assert text.split() == ["/made/for/it", "0022", "65536"]


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"argv": ["nosuch"]}, 'exec: "nosuch": executable file not found'),
        ({"argv": ["/etc/passwd"]}, 'exec: "/etc/passwd": permission denied'),
        ({"netns": "/run/netns/none-of-this"}, "No such file or directory: /run/netns/none-of-this"),
        ({"mounts": [Mount("/none/of/this", "/x", True)]}, "No such file or directory"),
    ],
)
async def test_what_cannot_be_is_named(tmp_path: Path, changed: dict[str, Any], words: str) -> None:
    async with runtime(tmp_path) as box:
        with pytest.raises(RuntimeFailure, match=words):
            await box.start("true", **changed)
