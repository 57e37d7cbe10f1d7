"""Runner of the iptables program: detects the backend, applies, checks, cleans. The one shell of the init container.

Tries the nft backend, then the legacy one, and when neither works says which piece of the kernel is missing.
"""

import shutil
import subprocess
import sys
from argparse import ArgumentParser
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from injector import capture, iptables
from injector.iptables import Family

# Exit codes of the subcommand. 1: --check found differences. 2: bad usage (argparse's own).  3: the kernel refused.
CHECK_FAILED, BAD_USAGE, KERNEL_REFUSED = 1, 2, 3
_PATH = "/usr/sbin:/sbin:/usr/bin:/bin"
_BACKENDS = ("nft", "legacy")
# How iptables words a missing piece → what to tell. First match wins.
_HINTS = (
    ("permission denied", "the container needs the capability NET_ADMIN (and to run as root)"),
    ("operation not permitted", "the container needs the capability NET_ADMIN (and to run as root)"),
    ("owner", "the kernel lacks the owner match: module xt_owner (CONFIG_NETFILTER_XT_MATCH_OWNER)"),
    ("redirect", "the kernel lacks the REDIRECT target: module xt_REDIRECT (CONFIG_NETFILTER_XT_TARGET_REDIRECT)"),
    ("cache initialization failed", "the kernel lacks nf_tables (CONFIG_NF_TABLES)"),
    ("protocol not supported", "the kernel lacks nf_tables (CONFIG_NF_TABLES)"),
    ("table does not exist", "the kernel lacks the nat table: iptable_nat/ip6table_nat (CONFIG_IP_NF_NAT, CONFIG_IP6_NF_NAT)"),
    ("can't initialize", "the kernel lacks the nat table: iptable_nat/ip6table_nat (CONFIG_IP_NF_NAT, CONFIG_IP6_NF_NAT)"),
    ("no chain/target/match", "the kernel lacks nat for nf_tables: nft_chain_nat, nft_compat (CONFIG_NFT_NAT, CONFIG_NFT_COMPAT)"),
    ("rule_append failed", "the kernel lacks nft_compat or an xt module (CONFIG_NFT_COMPAT)"),
    ("chain_add failed", "the kernel lacks nat for nf_tables: nft_chain_nat (CONFIG_NFT_NAT)"),
)


class KernelRefused(Exception):
    """No backend could do it; the message has every backend's words and what is probably missing."""


@dataclass(frozen=True, slots=True)
class _Tool:
    """One backend of one family, or the unsuffixed programs of an image that has only those."""

    family: Family
    backend: str

    def program(self, verb: str) -> str | None:
        stem = "ip6tables" if self.family is Family.V6 else "iptables"
        middle = f"-{self.backend}" if self.backend else ""
        return shutil.which(f"{stem}{middle}-{verb}", path=_PATH)

    def run(self, verb: str, *words: str, text: str = "") -> "subprocess.CompletedProcess[str]":
        path = self.program(verb)
        assert path is not None
        return subprocess.run([path, *words], input=text, capture_output=True, text=True, check=False)


def main(words: Sequence[str]) -> int:
    """`python -m injector iptables …`. Returns: the exit code (0, or one of the constants above)."""
    parser = ArgumentParser(prog="injector iptables", description="Turn this network namespace's TCP traffic to the proxy.")
    capture.add_flags(parser)
    mode = parser.add_mutually_exclusive_group()
    mode.add_argument("--check", action="store_true", help="change nothing; exit 1 and list what differs")
    mode.add_argument("--dry-run", action="store_true", help="print the programs for iptables-restore and exit")
    mode.add_argument("--clean", action="store_true", help="remove all that this program ever added")
    args = parser.parse_args(list(words))
    try:
        wanted = capture.from_arguments(args)
        if args.dry_run:
            return _dry_run(wanted)
        if args.clean:
            return _each_family(_clean)
        if args.check:
            return _each_family(lambda family: _check(wanted, family))
        return _each_family(lambda family: _apply(wanted, family))
    except capture.BadCapture as exc:
        print(f"injector iptables: {exc}", file=sys.stderr)
        return BAD_USAGE
    except KernelRefused as exc:
        print(f"injector iptables: {exc}", file=sys.stderr)
        return KERNEL_REFUSED


def _dry_run(wanted: capture.Capture) -> int:
    for family in Family:
        print(f"# {family.label}\n{iptables.program(wanted, family)}", end="")
    return 0


def _each_family(act: Callable[[Family], int]) -> int:
    code = act(Family.V4)
    scopes = _ipv6_scopes()
    if not scopes:
        print("IPv6: this pod has none, skipped")
        return code
    try:
        return max(code, act(Family.V6))
    except KernelRefused as exc:
        # With only link-local and loopback addresses nothing leaves or enters by IPv6: safe to go without.
        # With a global one, going without would let traffic past the mesh unseen: refuse to start.
        if "global" in scopes:
            raise
        print(f"IPv6: no nat, and no global IPv6 address that would need it, skipped ({exc})")
        return code


def _apply(wanted: capture.Capture, family: Family) -> int:
    if family is Family.V6:
        _add_passthrough_address()
    failures = []
    for tool in _tools(family):
        saved = tool.run("save", "-t", "nat")
        if saved.returncode == 0 and not iptables.compare(wanted, family, saved.stdout):
            print(f"{family.label}: {len(iptables.rules(wanted, family))} rules already in force ({tool.backend or 'iptables'})")
            return 0
        done = tool.run("restore", "-w", "--noflush", text=iptables.program(wanted, family, saved.stdout))
        if done.returncode == 0:
            print(f"{family.label}: {len(iptables.rules(wanted, family))} rules applied ({tool.backend or 'iptables'})")
            return 0
        failures.append((tool, done.stderr or saved.stderr))
    raise KernelRefused(_explain(family, failures))


def _check(wanted: capture.Capture, family: Family) -> int:
    """In force in any one backend is in force: the kernel runs both."""
    closest: iptables.Difference | None = None
    failures = []
    for tool in _tools(family):
        saved = tool.run("save", "-t", "nat")
        if saved.returncode != 0:
            failures.append((tool, saved.stderr))
            continue
        difference = iptables.compare(wanted, family, saved.stdout)
        if not difference:
            print(f"{family.label}: in force ({tool.backend or 'iptables'})")
            return 0
        if closest is None or len(difference.missing) < len(closest.missing):
            closest = difference
    if closest is None:
        raise KernelRefused(_explain(family, failures))
    for sign, lines in (("missing", closest.missing), ("not ours to expect", closest.surplus)):
        for line in lines:
            print(f"{family.label}: {sign}: {line}", file=sys.stderr)
    return CHECK_FAILED


def _clean(family: Family) -> int:
    failures = []
    for tool in _tools(family):
        saved = tool.run("save", "-t", "nat")
        text = iptables.removal(saved.stdout) if saved.returncode == 0 else ""
        if text and (done := tool.run("restore", "-w", "--noflush", text=text)).returncode != 0:
            failures.append((tool, done.stderr))
    if failures:
        raise KernelRefused(_explain(family, failures))
    print(f"{family.label}: clean")
    return 0


def _tools(family: Family) -> list[_Tool]:
    tools = [_Tool(family, backend) for backend in _BACKENDS]
    found = [tool for tool in tools if tool.program("save") and tool.program("restore")]
    plain = _Tool(family, "")
    if not found and plain.program("save") and plain.program("restore"):
        found = [plain]
    if not found:
        raise KernelRefused(f"{family.label}: no iptables-restore in {_PATH}: install the iptables package in the image")
    return found


def _explain(family: Family, failures: Sequence[tuple[_Tool, str]]) -> str:
    parts = []
    for tool, stderr in failures:
        words = "; ".join(line.strip() for line in stderr.splitlines() if line.strip() and not line.startswith("#"))
        hint = next((text for sign, text in _HINTS if sign in words.lower()), "see the message of iptables")
        parts.append(f"{tool.backend or 'iptables'}: {hint} [{words or 'no message'}]")
    return f"{family.label} rules could not be installed. " + " ".join(parts)


def _ipv6_scopes() -> set[str]:
    """Scopes of this namespace's IPv6 addresses. Source: proc(5) /proc/net/if_inet6, fourth column."""
    try:
        with open("/proc/net/if_inet6", encoding="ascii") as table:
            fields = [line.split() for line in table]
    except FileNotFoundError:  # a kernel without IPv6, or ipv6.disable=1
        return set()
    return {"global" if row[3] == "00" else "local" for row in fields if row[0] != _PASSTHROUGH_HEX}


# ::6 as /proc/net/if_inet6 writes it: our own address is not a reason to think that the pod has IPv6.
_PASSTHROUGH_HEX = "0" * 31 + "6"


def _add_passthrough_address() -> None:
    """Give lo the address ::6: unlike 127.0.0.0/8, IPv6's loopback is a single address, so it must be added."""
    ip = shutil.which("ip", path=_PATH)
    if ip is None:
        print("IPv6: no `ip` program, ::6 not added: inbound pass-through over IPv6 will dial from ::1", file=sys.stderr)
        return
    done = subprocess.run(
        [ip, "-6", "addr", "replace", "::6/128", "dev", "lo"], capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        raise KernelRefused(f"IPv6: ip -6 addr replace ::6/128 dev lo: {done.stderr.strip()}")
