"""Rounds: every contender once per round, in turned order, each in a fresh process."""

import contextlib
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from benchmarks import certificates, resources
from benchmarks.contenders import CONTENDERS, ROOT, Bench, NotStarted, Running, backend, backend_counters
from benchmarks.native import Load, run_load
from benchmarks.procfs import cpu_seconds, rss_megabytes
from benchmarks.resources import Tls

_SEEN = ("request_id", "forwarded_for", "traceparent", "client_certificate", "handshakes")


@dataclass(frozen=True, slots=True)
class Plan:
    """What to measure. shape: of `resources.SHAPES`. tls: of `resources.TLS_SIDES`, None: plaintext. rate: requests per second of the latency run; order of names is that of the first round."""

    names: tuple[str, ...]
    rounds: int
    seconds: float
    connections: int
    rate: float
    answer_bytes: int
    shape: str
    tls: str | None
    proxy_core: int
    load_core: int


@dataclass(frozen=True, slots=True)
class Sample:
    """One contender in one round. cpu_us: user and system time per request; None: there was no proxy process.

    seen: what the back end and the span sink counted during the throughput run, per request.
    """

    name: str
    round: int
    per_second: float
    cpu_us: float | None
    p50_us: float
    p99_us: float
    rss_mb: float | None
    errors: int
    behind: int
    seen: dict[str, float]


def run(plan: Plan, progress: Callable[[str], None]) -> tuple[list[Sample], dict[str, str]]:
    """All samples, and for those that did not start: why."""
    samples: list[Sample] = []
    failures: dict[str, str] = {}
    with tempfile.TemporaryDirectory(prefix="triomesh-bench-") as name, contextlib.ExitStack() as stack:
        directory = Path(name)
        request = directory / "request"
        request.write_bytes(resources.SHAPES[plan.shape])
        certificates.make(directory)
        ports = stack.enter_context(backend(plan.load_core, plan.answer_bytes, directory))
        peers = stack.enter_context(_peers(plan.load_core))
        bench = _bench(plan, directory, ports, peers)
        for number in range(plan.rounds):
            turned = plan.names[number % len(plan.names) :] + plan.names[: number % len(plan.names)]
            for each in turned:
                if each in failures:
                    continue
                progress(f"round {number + 1}/{plan.rounds}: {each}")
                try:
                    with CONTENDERS[each](bench) as running:
                        samples.append(_measure(plan, bench, peers, each, number, running, request))
                except NotStarted as error:
                    failures[each] = str(error)
    return samples, failures


def _bench(plan: Plan, directory: Path, ports: list[int], peers: "_Peers") -> Bench:
    plain, secure = ports[:3], ports[3:]
    tls = Tls(plan.tls, directory, plan.shape == "connections") if plan.tls else None
    return Bench(
        directory=directory,
        backend_ports=secure if tls and not tls.terminates else plain,
        direct_port=secure[0] if tls and tls.terminates else plain[0],
        counters_port=plain[0],
        tls=tls,
        peers_port=peers.port,
        proxy_core=plan.proxy_core,
        load_core=plan.load_core,
        configure=peers.configure,
    )


def _measure(
    plan: Plan, bench: Bench, peers: "_Peers", name: str, number: int, running: Running, request: Path
) -> Sample:
    def load(seconds: float, rate: float) -> Load:
        secure = bench.directory if bench.tls and bench.tls.terminates else None
        return run_load(running.port, plan.connections, seconds, rate, request, plan.load_core, secure)

    load(min(1.0, plan.seconds), 0)  # connection pools, caches and adaptive interpreters settle
    backend_counters(bench.counters_port)
    peers.take_spans()
    before = cpu_seconds(running.pid) if running.pid else 0.0
    closed = load(plan.seconds, 0)
    cpu = cpu_seconds(running.pid) - before if running.pid else 0.0
    counted = backend_counters(bench.counters_port)
    opened = load(plan.seconds, plan.rate)
    spans = peers.take_spans()
    seen = {key: counted[key] / max(1, counted["requests"]) for key in _SEEN}
    return Sample(
        name=name,
        round=number,
        per_second=closed.per_second,
        cpu_us=cpu / max(1, closed.requests) * 1e6 if running.pid else None,
        p50_us=opened.p50_us,
        p99_us=opened.p99_us,
        rss_mb=rss_megabytes(running.pid) if running.pid else None,
        errors=closed.errors + opened.errors + closed.reconnects + opened.reconnects,
        behind=opened.behind,
        seen={**seen, "spans": spans / max(1, closed.requests + opened.requests)},
    )


class _Peers:
    """The process of benchmarks.peers."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        assert process.stdin is not None and process.stdout is not None
        self._input, self._output = process.stdin, process.stdout
        self.port = int(self._output.readline())

    def configure(self, configuration: dict[str, object]) -> None:
        self._ask(json.dumps(configuration))

    def take_spans(self) -> int:
        return int(self._ask("spans"))

    def _ask(self, line: str) -> str:
        self._input.write(line + "\n")
        self._input.flush()
        answer = self._output.readline()
        if not answer:
            raise NotStarted("benchmarks.peers ended; its error is above")
        return answer


@contextlib.contextmanager
def _peers(core: int) -> Iterator[_Peers]:
    arguments = [sys.executable, "-m", "benchmarks.peers"]
    process = subprocess.Popen(
        arguments,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        preexec_fn=lambda: os.sched_setaffinity(0, {core}),
    )
    with process:
        try:
            yield _Peers(process)
        finally:
            process.terminate()
