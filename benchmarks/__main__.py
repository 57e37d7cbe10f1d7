"""Command line of the benchmarks: `python -m benchmarks [--quick] [--shape SHAPE] [--tls SIDE] [--json] [--only NAME ...]`."""

import argparse
import json
import os
import shutil
import subprocess
import sys

from benchmarks.contenders import CONTENDERS, NotStarted, envoy_binary
from benchmarks.report import as_json, as_text, first_line
from benchmarks.resources import SHAPES, TLS_SIDES
from benchmarks.rounds import Plan, run

_INSIDE = "TRIOMESH_BENCH_INSIDE"


def main() -> int:
    """Exit status: 0 measured, 1 a contender could not be measured or requests failed, 2 bad usage."""
    options = _options()
    if _INSIDE not in os.environ:
        _enter_namespace()
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) < 2:
        print("warning: one core only: proxy, load and back end share it, and throughput means little", file=sys.stderr)
    plan = Plan(
        names=tuple(options.only or CONTENDERS),
        rounds=options.rounds or (1 if options.quick else 4),
        seconds=options.seconds or (1.0 if options.quick else 3.0),
        connections=options.connections,
        rate=options.rate,
        answer_bytes=options.answer_bytes,
        shape=options.shape,
        tls=options.tls,
        proxy_core=cores[0],
        load_core=cores[-1],
    )
    samples, failures = run(plan, lambda text: print(text, file=sys.stderr, flush=True))
    if options.json:
        print(json.dumps(as_json(plan, samples, failures, _versions(plan)), indent=2))
    else:
        print(as_text(plan, samples, failures, _versions(plan)))
    return 1 if failures or any(sample.errors for sample in samples) else 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="one round of one second each")
    parser.add_argument("--json", action="store_true", help="all samples as JSON")
    parser.add_argument("--only", action="append", choices=list(CONTENDERS), help="measure this one (may be repeated)")
    parser.add_argument("--rounds", type=_positive_int, help="rounds (default 4)")
    parser.add_argument("--seconds", type=_positive, help="of each throughput and each latency run (default 3)")
    parser.add_argument("--connections", type=_positive_int, default=32, help="keep-alive connections (default 32)")
    parser.add_argument(
        "--rate", type=_positive, default=1000.0, help="requests per second of the latency run (default 1000)"
    )
    parser.add_argument(
        "--shape",
        choices=list(SHAPES),
        default="get",
        help="get (default), post (1 KiB), connections (one per request)",
    )
    parser.add_argument(
        "--tls",
        choices=list(TLS_SIDES),
        help="the proxy's half of mutual TLS: terminate (from the client), originate (to the back end)",
    )
    parser.add_argument("--answer-bytes", type=_positive_int, default=100, help="size of an answer (default 100)")
    return parser.parse_args()


def _positive(text: str) -> float:
    value = float(text)
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"{text} is not positive")
    return value


def _positive_int(text: str) -> int:
    value = int(text)
    if value <= 0:
        raise argparse.ArgumentTypeError(f"{text} is not positive")
    return value


def _enter_namespace() -> None:
    # A network namespace of our own: only loopback, every port free, and nothing left behind.
    unshare = shutil.which("unshare")
    if unshare is None:
        sys.exit("benchmarks: no unshare (Debian package util-linux)")
    user = [] if os.geteuid() == 0 else ["--map-root-user"]
    arguments = [unshare, "--net", *user, sys.executable, "-m", "benchmarks", *sys.argv[1:]]
    os.execve(unshare, arguments, {**os.environ, _INSIDE: "1"})


def _versions(plan: Plan) -> dict[str, str]:
    found = {}
    if any(name.startswith("envoy") for name in plan.names):
        try:
            found["Envoy"] = first_line([envoy_binary(), "--version"]).rpartition("version: ")[2].partition("/")[2]
        except NotStarted:
            found["Envoy"] = "absent"
    if "haproxy" in plan.names:
        found["HAProxy"] = first_line(["haproxy", "-v"]).partition("version ")[2].split(" ")[0]
    return {**found, "Python": sys.version.split()[0]}


if __name__ == "__main__":
    sys.exit(main())
