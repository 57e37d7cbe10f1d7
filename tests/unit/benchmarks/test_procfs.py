"""CPU time and memory of real processes."""

import os
import subprocess
import sys

from benchmarks.procfs import cpu_seconds, family, rss_megabytes

_BURN = "import time; start = time.process_time()\nwhile time.process_time() - start < 0.2: pass\n"


def test_family_holds_children_and_their_cpu_time_counts_after_their_end() -> None:
    code = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {_BURN!r}]); print('done', flush=True); sys.stdin.read()"
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"done\n"
        assert process.pid in family(os.getpid())
        assert cpu_seconds(process.pid) >= 0.15
        assert rss_megabytes(process.pid) > 1


def test_a_process_that_is_gone_has_used_nothing() -> None:
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    assert cpu_seconds(process.pid) == 0
    assert rss_megabytes(process.pid) == 0
