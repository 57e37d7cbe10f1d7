"""Interception by real iptables rules, in a network namespace of the test's own."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

pytestmark = pytest.mark.root


@pytest.mark.skipif(os.geteuid() != 0, reason="network namespaces and iptables need root")
@pytest.mark.parametrize("case", ["by_port", "passthrough", "loop", "inbound_by_port"])
def test_in_a_namespace(case: str) -> None:
    done = subprocess.run(
        ["unshare", "-n", sys.executable, "-m", "tests.support.proxy_netns", case],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr[-4000:]
