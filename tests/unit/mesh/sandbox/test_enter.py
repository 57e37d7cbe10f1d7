"""A command in another namespace, tied to its parent."""

import os
import secrets
import select
import subprocess
import sys

import pytest

from mesh.sandbox import netns
from mesh.sandbox.layout import NETNS_DIR

pytestmark = [pytest.mark.root, pytest.mark.skipif(os.geteuid() != 0, reason="needs root (namespaces, mounts)")]
ENTER = [sys.executable, "-m", "mesh.sandbox.enter"]


def test_the_command_runs_in_the_namespace_that_was_named() -> None:
    name = f"tm-u{secrets.token_hex(3)}"
    netns.make_netns(name, {})
    try:
        command = [*ENTER, "--netns", str(NETNS_DIR / name), "--parent", str(os.getpid()), "--", "stat", "-Lc", "%i", "/proc/self/ns/net"]
        inode = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        assert int(inode) == (NETNS_DIR / name).stat().st_ino != os.stat("/proc/self/ns/net").st_ino
    finally:
        netns.remove_netns(name)


def test_without_a_namespace_it_stays_and_takes_options_behind_the_dashes() -> None:
    done = subprocess.run([*ENTER, "--parent", str(os.getpid()), "--", "sh", "-c", 'echo "$0 $1"; exit 3', "--netns", "x"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (3, "--netns x\n")


def test_a_parent_that_is_gone_already_ends_it() -> None:
    done = subprocess.run([*ENTER, "--parent", "1", "--", "true"], capture_output=True, text=True, check=False)
    assert done.returncode == 1 and "the parent died before its child could begin" in done.stderr


def test_the_command_dies_with_its_parent() -> None:
    script = "import subprocess, sys, os\nchild = subprocess.Popen([sys.executable, '-m', 'mesh.sandbox.enter', '--parent', str(os.getpid()), '--', 'sh', '-c', 'echo $$; exec sleep 1000'])\nchild.wait()"
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        pidfd = os.pidfd_open(int(parent.stdout.readline()))
        assert not select.select([pidfd], [], [], 0)[0]
        parent.kill()
        assert select.select([pidfd], [], [], 10)[0]
        os.close(pidfd)
