"""The C programs of the benchmarks: compiled into build/bench when they are newer than what is there."""

import json
import os
import subprocess
from dataclasses import dataclass
from pathlib import Path

_SOURCES = Path(__file__).parent
_BUILD = Path(__file__).parents[2] / "build" / "bench"


def program(name: str) -> Path:
    """Path of the compiled `load` or `backend`. Raises: subprocess.CalledProcessError: it does not compile."""
    source, target = _SOURCES / f"{name}.c", _BUILD / name
    newest = max(file.stat().st_mtime for file in (source, *_SOURCES.glob("*.h")))
    if not target.exists() or target.stat().st_mtime < newest:
        _BUILD.mkdir(parents=True, exist_ok=True)
        subprocess.run(
            ["cc", "-O2", "-Wall", "-Wextra", "-Werror", "-o", target, source, "-lssl", "-lcrypto"], check=True
        )
    return target


@dataclass(frozen=True, slots=True)
class Load:
    """What one run of the load generator saw. Latencies in microseconds; behind: due, and never answered."""

    requests: int
    errors: int
    reconnects: int
    behind: int
    seconds: float
    p50_us: float
    p90_us: float
    p99_us: float
    p999_us: float
    max_us: float

    @property
    def per_second(self) -> float:
        return self.requests / self.seconds


def run_load(
    port: int, connections: int, seconds: float, rate: float, request: Path, core: int, certificates: Path | None = None
) -> Load:
    """Run the generator on one core. rate 0: closed loop; else requests per second, open loop. certificates: as `certificates.make` left them: mutual TLS."""
    arguments = [str(program("load")), str(port), str(connections), str(seconds), str(rate), str(request)]
    if certificates is not None:
        arguments.append(str(certificates))
    done = subprocess.run(
        arguments,
        stdout=subprocess.PIPE,
        check=True,
        timeout=seconds + 60,
        preexec_fn=lambda: os.sched_setaffinity(0, {core}),
    )
    return Load(**json.loads(done.stdout))
