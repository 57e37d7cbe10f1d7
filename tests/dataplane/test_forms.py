"""The compiled and the uncompiled data plane do the same with the same bytes, malformed, split and pipelined ones included."""

from __future__ import annotations

import json
import subprocess
import sys
from functools import cache
from typing import Any

import pytest

import mesh.proxy.forwarding
from tests.support.proxy_forms import ROOT

_COUNT = 40


@cache
def played(form: str, first: int) -> tuple[list[dict[str, Any]], str]:
    done = subprocess.run(
        [sys.executable, "-m", "tests.support.proxy_forms", form, str(first), str(_COUNT)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    return [json.loads(line) for line in done.stdout.splitlines()], done.stderr


@pytest.mark.skipif(mesh.proxy.forwarding.__file__.endswith(".py"), reason="nothing is compiled here (TRIOMESH_PURE)")
@pytest.mark.parametrize("first", [0, 1000])
def test_both_forms_send_and_record_the_same(first: int) -> None:
    compiled, errors = played("compiled", first)
    pure, pure_errors = played("pure", first)
    assert len(compiled) == len(pure) == _COUNT
    for one, other in zip(compiled, pure):
        assert one == other
    assert "Traceback" not in errors + pure_errors  # nothing that a peer sends is a bug of ours


def test_the_scenarios_reach_the_corners() -> None:
    form = "pure" if mesh.proxy.forwarding.__file__.endswith(".py") else "compiled"
    records = [record for scenario in played(form, 0)[0] for record in scenario["records"]]
    statuses = {record[0] for record in records}
    flags = {flag for record in records for flag in record[1]}
    assert {200, 204, 304, 400, 418, 500, 502, 503} <= statuses
    assert {"UC", "UPE", "DC"} <= flags and any(record[5] > 1 for record in records)
