"""The iptables program that turns a pod's TCP traffic to the proxy (REDIRECT mode), as pure text.

Four chains of ours in the nat table, entered by one jump each from PREROUTING and OUTPUT. Nothing else of the
builtin chains is touched, so what is ours can be recognised, checked, replaced and removed by chain name alone.

    PREROUTING -p tcp → TRIOMESH_INBOUND  → TRIOMESH_IN_REDIRECT (15006)
    OUTPUT            → TRIOMESH_OUTPUT   → TRIOMESH_REDIRECT (15001), or TRIOMESH_IN_REDIRECT for the pod's own address

Source: the rules are Istio's, reference features 1.5 (goldens of istio-iptables) under our chain names.
"""

import shlex
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import Enum

from injector.capture import Capture

INBOUND, REDIRECT, IN_REDIRECT, OUTPUT = (
    "TRIOMESH_INBOUND",
    "TRIOMESH_REDIRECT",
    "TRIOMESH_IN_REDIRECT",
    "TRIOMESH_OUTPUT",
)
CHAINS = (INBOUND, REDIRECT, IN_REDIRECT, OUTPUT)


class Family(Enum):
    """An address family: (name, loopback, source address of the proxy's inbound pass-through)."""

    V4 = ("IPv4", "127.0.0.1/32", "127.0.0.6/32")
    V6 = ("IPv6", "::1/128", "::6/128")

    @property
    def label(self) -> str:
        """For people: IPv4 or IPv6."""
        return self.value[0]


@dataclass(frozen=True, slots=True)
class Difference:
    """What stands between a saved table and the program: empty when the program is in force."""

    missing: tuple[str, ...]
    surplus: tuple[str, ...]

    def __bool__(self) -> bool:
        return bool(self.missing or self.surplus)


def rules(capture: Capture, family: Family) -> list[str]:
    """The rules in order, as `-A CHAIN …` lines without the table's frame."""
    _, loopback, passthrough = family.value
    owner = [("uid", capture.uid), ("gid", capture.gid)]
    lines = [f"-A {INBOUND} -i {name} -j RETURN" for name in capture.exclude_interfaces]
    lines += _virtual(capture, family)
    lines.append(f"-A {INBOUND} -p tcp --dport {capture.tunnel_port} -j RETURN")
    lines.append(f"-A {REDIRECT} -p tcp -j REDIRECT --to-ports {capture.proxy_port}")
    lines.append(f"-A {IN_REDIRECT} -p tcp -j REDIRECT --to-ports {capture.inbound_port}")
    lines += _inbound(capture)
    lines.append(f"-A OUTPUT -j {OUTPUT}")
    lines += [f"-A {OUTPUT} -o {name} -j RETURN" for name in capture.exclude_interfaces]
    for port in capture.exclude_outbound_ports:
        lines.append(f"-A {OUTPUT} -p tcp --dport {port} -j RETURN")
    # The proxy's inbound pass-through dials from this address: never loop.
    lines.append(f"-A {OUTPUT} -s {passthrough} -o lo -j RETURN")
    for kind, number in owner:
        # Proxy → the pod's own address (an application that calls its own Service): to the inbound listener.
        lines.append(
            f"-A {OUTPUT} ! -d {loopback} -o lo -p tcp ! --dport {capture.tunnel_port}"
            f" -m owner --{kind}-owner {number} -j {IN_REDIRECT}"
        )
        # Application → application over lo: not captured, unless the user asked for loopback ranges by CIDR.
        if not _includes_loopback(capture):
            lines.append(f"-A {OUTPUT} -o lo -m owner ! --{kind}-owner {number} -j RETURN")
        lines.append(f"-A {OUTPUT} -m owner --{kind}-owner {number} -j RETURN")
    lines.append(f"-A {OUTPUT} -d {loopback} -j RETURN")
    lines += [f"-A {OUTPUT} -d {cidr} -j RETURN" for cidr in _of(capture.exclude_cidrs, family)]
    lines += [f"-A {OUTPUT} -p tcp --dport {port} -j {REDIRECT}" for port in capture.include_outbound_ports]
    if capture.include_cidrs is None:
        lines.append(f"-A {OUTPUT} -j {REDIRECT}")
    else:
        lines += [f"-A {OUTPUT} -d {cidr} -j {REDIRECT}" for cidr in _of(capture.include_cidrs, family)]
    return lines


def program(capture: Capture, family: Family, saved: str = "") -> str:
    """Text for `iptables-restore --noflush` that puts the rules in force, whatever of ours `saved` holds.

    Declaring a chain empties it under --noflush, and jumps found in `saved` are deleted first, so that the whole
    replacement is one transaction: no packet sees half of it and a second run duplicates nothing.
    """
    lines = ["*nat", *(f":{chain} - [0:0]" for chain in CHAINS), *_deletions(saved), *rules(capture, family), "COMMIT"]
    return "\n".join(lines) + "\n"


def removal(saved: str) -> str:
    """Text for `iptables-restore --noflush` that removes all that is ours; "" when nothing is."""
    chains = [chain for chain in _chains(saved) if chain in CHAINS]
    if not chains:
        return ""
    frame = [*(f":{chain} - [0:0]" for chain in chains), *_deletions(saved), *(f"-X {chain}" for chain in chains)]
    return "\n".join(["*nat", *frame, "COMMIT"]) + "\n"


def compare(capture: Capture, family: Family, saved: str) -> Difference:
    """Compare the program with the output of `iptables-save -t nat`, chain by chain and in order."""
    wanted, found = rules(capture, family), [line for line in _rule_lines(saved) if _is_ours(line)]
    missing: list[str] = []
    surplus: list[str] = []
    for chain in dict.fromkeys(map(_chain_of, [*wanted, *found])):
        mine = [line for line in wanted if _chain_of(line) == chain]
        theirs = [line for line in found if _chain_of(line) == chain]
        if [_canonical(line) for line in mine] == [_canonical(line) for line in theirs]:
            continue
        have, want = [_canonical(line) for line in theirs], [_canonical(line) for line in mine]
        absent = [line for line in mine if _canonical(line) not in have]
        extra = _surplus(theirs, want)
        # All present and none too many: only the order is wrong, and in a chain order is meaning.
        missing += absent if absent or extra else mine
        surplus += extra
    return Difference(tuple(missing), tuple(surplus))


def _virtual(capture: Capture, family: Family) -> Iterator[str]:
    """Interfaces behind which a virtual machine sits: what comes in there is that machine's *outbound* traffic."""
    for name in capture.virtual_interfaces:
        if capture.include_cidrs is None:
            yield f"-A {INBOUND} -i {name} -j {REDIRECT}"
        for cidr in _of(capture.include_cidrs or (), family):
            yield f"-A {INBOUND} -d {cidr} -i {name} -j {REDIRECT}"
        yield f"-A {INBOUND} -i {name} -j RETURN"


def _inbound(capture: Capture) -> Iterator[str]:
    if capture.include_inbound_ports == () and not capture.virtual_interfaces:
        return
    yield f"-A PREROUTING -p tcp -j {INBOUND}"
    # Exclusion wins over inclusion: the proxy's own ports stay reachable whatever is listed.
    for port in capture.exclude_inbound_ports:
        yield f"-A {INBOUND} -p tcp --dport {port} -j RETURN"
    if capture.include_inbound_ports is None:
        yield f"-A {INBOUND} -p tcp -j {IN_REDIRECT}"
    for port in capture.include_inbound_ports or ():
        yield f"-A {INBOUND} -p tcp --dport {port} -j {IN_REDIRECT}"


def _of(cidrs: Iterable[str], family: Family) -> list[str]:
    return [cidr for cidr in cidrs if (":" in cidr) == (family is Family.V6)]


def _includes_loopback(capture: Capture) -> bool:
    return any(cidr.startswith("127.") or cidr == "::1/128" for cidr in capture.include_cidrs or ())


def _rule_lines(saved: str) -> list[str]:
    return [line for line in saved.splitlines() if line.startswith("-A ")]


def _chains(saved: str) -> list[str]:
    return [line[1:].split(" ", 1)[0] for line in saved.splitlines() if line.startswith(":")]


def _chain_of(line: str) -> str:
    return line.split(" ", 2)[1]


def _is_ours(line: str) -> bool:
    words = line.split()
    return words[1] in CHAINS or any(word in CHAINS for word in words[2:])


def _deletions(saved: str) -> list[str]:
    """-D for every rule outside our chains that jumps into one of them."""
    return ["-D " + line[3:] for line in _rule_lines(saved) if _is_ours(line) and _chain_of(line) not in CHAINS]


def _surplus(found: list[str], wanted: list[frozenset[tuple[str, ...]]]) -> list[str]:
    left = list(wanted)
    extra = []
    for line in found:
        key = _canonical(line)
        if key in left:
            left.remove(key)
        else:
            extra.append(line)
    return extra


def _canonical(line: str) -> frozenset[tuple[str, ...]]:
    """A rule as a set of (negated, option, values…): iptables-save orders options its own way and adds `-m tcp`."""
    words = shlex.split(line)[2:]
    options: list[tuple[str, ...]] = []
    negated = False
    for word in words:
        if word == "!":
            negated = True
        elif word.startswith("-"):
            options.append(("!" if negated else "", word))
            negated = False
        else:
            options[-1] += (word,)
    return frozenset(option for option in options if option not in (("", "-m", "tcp"), ("", "-m", "udp")))
