"""Children that become something, or say why they do not."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from mesh.sandbox import linux
from mesh.sandbox.node.fork import Forker
from mesh.sandbox.node.launch import CommandError
from mesh.sandbox.node.poller import Poller

# The Forker is for a single-threaded process, and these tests change namespaces of the whole process they run in: a test
# worker with other tests' threads in it dies of that. So the file runs once more, in a process of its own.
ALONE = os.environ.get("TRIOMESH_TEST_ALONE") == "1"
pytestmark = [pytest.mark.root, pytest.mark.skipif(os.geteuid() != 0, reason="needs root (setns)")]
alone = pytest.mark.skipif(not ALONE, reason="runs in the process that test_in_a_process_of_its_own starts")


@pytest.mark.skipif(ALONE, reason="this is that process")
def test_in_a_process_of_its_own() -> None:
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:xdist", __file__]
    done = subprocess.run(command, env={**os.environ, "TRIOMESH_TEST_ALONE": "1"}, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0 and "8 passed" in done.stdout, done.stdout + done.stderr


def run(become: object, tty: bool = False) -> tuple[str, str, int]:
    """(what on_exec said, what the child wrote, its exit code)"""
    poller, said = Poller(), []
    if tty:
        ours, theirs = os.openpty()
        stdio = [theirs] * 3
    else:
        ours, theirs = os.pipe()
        stdio = [os.open("/dev/null", os.O_RDONLY), theirs, theirs]
    pid = Forker(poller).fork(become, stdio, tty, said.append)  # type: ignore[arg-type]
    while not said:
        poller.poll(10)
    output = b""
    try:
        while data := os.read(ours, 1000):
            output += data
    except OSError:
        pass  # EIO: the last holder of the terminal has closed it
    os.close(ours)
    _, status = os.waitpid(pid, 0)
    poller.close()
    return said[0], output.decode(), os.waitstatus_to_exitcode(status)


def execute(*argv: str) -> object:
    return lambda: os.execvp(argv[0], argv)


@alone
def test_a_child_has_its_descriptors_and_a_session_of_its_own() -> None:
    assert run(execute("sh", "-c", 'echo out; echo err >&2; read x || echo end; test $(ps -o sid= -p $$) = $$; exit 3')) == ("", "out\nerr\nend\n", 3)


@alone
def test_a_terminal_is_the_childs_own() -> None:
    why, text, code = run(execute("sh", "-c", "tty -s <&2 && echo yes >/dev/tty"), tty=True)
    assert (why, text.strip(), code) == ("", "yes", 0)


def raise_command() -> None:
    raise CommandError("no such thing")


def raise_os() -> None:
    os.stat("/none/of/this")


def raise_other() -> None:
    raise ValueError("odd")


@alone
@pytest.mark.parametrize(
    ("become", "words"),
    [(raise_command, "no such thing"), (raise_os, "No such file or directory: /none/of/this"), (raise_other, "ValueError: odd")],
)
def test_why_a_child_became_nothing_is_said(become: object, words: str) -> None:
    assert run(become) == (words, "", 128)


@alone
def test_a_namespace_joined_for_the_child_is_left_again() -> None:
    before = os.readlink("/proc/self/ns/pid_for_children")
    linux.unshare(linux.CLONE_NEWPID)
    assert run(execute("sh", "-c", 'echo $$')) == ("", "1\n", 0)
    assert os.readlink("/proc/self/ns/pid_for_children") == before


@alone
def test_the_parents_copies_are_closed(tmp_path: Path) -> None:
    before = set(os.listdir("/proc/self/fd"))
    run(execute("true"))
    left = [os.readlink(f"/proc/self/fd/{fd}") for fd in set(os.listdir("/proc/self/fd")) - before if os.path.exists(f"/proc/self/fd/{fd}")]
    assert all("pid:" in link for link in left), left  # the forker's own namespace only


@alone
def test_a_namespace_that_has_ended_takes_no_child_and_nothing_is_left_open() -> None:
    poller = Poller()
    forker = Forker(poller)
    linux.unshare(linux.CLONE_NEWPID)
    first = os.fork()
    if first == 0:
        os._exit(0)
    os.waitpid(first, 0)  # the namespace's first process: with it, the namespace has ended
    before = sorted(os.listdir("/proc/self/fd"))
    stdio = [os.open("/dev/null", os.O_RDWR) for _ in range(3)]
    with pytest.raises(OSError, match="Cannot allocate memory"):
        forker.fork(lambda: pytest.fail("there is a child"), stdio, False, lambda _: pytest.fail("it ran"))
    assert sorted(os.listdir("/proc/self/fd")) == before
    assert run(lambda: os.execv("/bin/true", ["true"])) == ("", "", 0)  # back in our own namespace
    poller.close()
