"""Capture: which of a pod's traffic goes through the proxy, as annotations and as the init container's arguments.

The flags are those of Istio's own init program (`-p -z -u -m -i -x -b -d -o -q -c -k`), so that a pod spec reads
the same to whoever knows one. Standard library only: the init container starts in tens of milliseconds.
"""

import argparse
import ipaddress
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

ALL = "*"
# Ports of the proxy itself that the kubelet and Prometheus call: never captured (features 1.5, default injection).
PROXY_OWN_PORTS = (15090, 15021, 15020)
# IFNAMSIZ is 16 with the final NUL; iptables takes a final `+` as "any suffix".
_INTERFACE = re.compile(r"[^\s/:,!]{1,15}")


class BadCapture(ValueError):
    """A value that no rule can be made from. The message names the annotation or flag, and the value."""


@dataclass(frozen=True, slots=True)
class Capture:
    """What to capture. `None` in an include field means everything ("*"); an empty tuple means nothing."""

    proxy_port: int = 15001
    inbound_port: int = 15006
    # HBONE's port is left alone as by Istio: whoever calls it means the tunnel and not the application.
    tunnel_port: int = 15008
    uid: int = 1337
    gid: int = 1337
    include_inbound_ports: tuple[int, ...] | None = None
    exclude_inbound_ports: tuple[int, ...] = PROXY_OWN_PORTS
    include_outbound_ports: tuple[int, ...] = ()
    exclude_outbound_ports: tuple[int, ...] = ()
    include_cidrs: tuple[str, ...] | None = None
    exclude_cidrs: tuple[str, ...] = ()
    exclude_interfaces: tuple[str, ...] = ()
    virtual_interfaces: tuple[str, ...] = ()

    def arguments(self) -> list[str]:
        """The arguments for `python -m injector iptables` that `parse_arguments` reads back to an equal Capture."""
        words = ["-p", str(self.proxy_port), "-z", str(self.inbound_port), "-u", str(self.uid), "-m", "REDIRECT"]
        words += ["-i", ALL if self.include_cidrs is None else ",".join(self.include_cidrs)]
        words += ["-x", ",".join(self.exclude_cidrs)]
        words += ["-b", ALL if self.include_inbound_ports is None else _join(self.include_inbound_ports)]
        words += ["-d", _join(self.exclude_inbound_ports)]
        for flag, ports in (("-q", self.include_outbound_ports), ("-o", self.exclude_outbound_ports)):
            words += [flag, _join(ports)] if ports else []
        for flag, names in (("-c", self.exclude_interfaces), ("-k", self.virtual_interfaces)):
            words += [flag, ",".join(names)] if names else []
        return words


# annotation suffix below `traffic.sidecar.<prefix>/` → (Capture field, parser name, "*" allowed)
TRAFFIC_ANNOTATIONS = {
    "includeInboundPorts": ("include_inbound_ports", "ports", True),
    "excludeInboundPorts": ("exclude_inbound_ports", "ports", False),
    "includeOutboundPorts": ("include_outbound_ports", "ports", False),
    "excludeOutboundPorts": ("exclude_outbound_ports", "ports", False),
    "includeOutboundIPRanges": ("include_cidrs", "cidrs", True),
    "excludeOutboundIPRanges": ("exclude_cidrs", "cidrs", False),
    "excludeInterfaces": ("exclude_interfaces", "interfaces", False),
    "kubevirtInterfaces": ("virtual_interfaces", "interfaces", False),
}


def from_annotations(values: Mapping[str, tuple[str, str]]) -> Capture:
    """The Capture that a pod asks for.

    Args: values: suffix of TRAFFIC_ANNOTATIONS → (the full key as the user wrote it, its value).
    Raises: BadCapture: a port, CIDR or interface name that is none; the message names the annotation and the value.
    """
    fields: dict[str, object] = {}
    for suffix, (key, text) in values.items():
        field, kind, wildcard = TRAFFIC_ANNOTATIONS[suffix]
        fields[field] = _parse(kind, text, wildcard, f"annotation {key}={text!r}")
    # The proxy's own ports are added to the user's, never replaced by them: a probe must not loop.
    if excluded := fields.get("exclude_inbound_ports"):
        assert isinstance(excluded, tuple)
        fields["exclude_inbound_ports"] = PROXY_OWN_PORTS + tuple(p for p in excluded if p not in PROXY_OWN_PORTS)
    elif "exclude_inbound_ports" in fields:
        del fields["exclude_inbound_ports"]
    return Capture(**fields)  # type: ignore[arg-type]


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Declare the flags that `parse_arguments` reads."""
    parser.add_argument("-p", "--envoy-port", default="15001", metavar="PORT", help="outbound port of the proxy")
    parser.add_argument("-z", "--inbound-capture-port", default="15006", metavar="PORT")
    parser.add_argument("-e", "--inbound-tunnel-port", default="15008", metavar="PORT")
    parser.add_argument("-u", "--proxy-uid", default="1337", metavar="UID", help="user whose traffic is not captured")
    parser.add_argument("-g", "--proxy-gid", default="", metavar="GID", help="group whose traffic is not captured (the uid)")
    parser.add_argument("-m", "--istio-inbound-interception-mode", default="REDIRECT", choices=["REDIRECT"], metavar="MODE")
    parser.add_argument("-i", "--istio-service-cidr", default=ALL, metavar="CIDRS", help="outbound ranges to capture, or *")
    parser.add_argument("-x", "--istio-service-exclude-cidr", default="", metavar="CIDRS")
    parser.add_argument("-b", "--istio-inbound-ports", default=ALL, metavar="PORTS", help="inbound ports to capture, or *")
    parser.add_argument("-d", "--istio-local-exclude-ports", default=_join(PROXY_OWN_PORTS), metavar="PORTS")
    parser.add_argument("-q", "--istio-outbound-ports", default="", metavar="PORTS")
    parser.add_argument("-o", "--istio-local-outbound-ports-exclude", default="", metavar="PORTS")
    parser.add_argument("-c", "--istio-exclude-interfaces", default="", metavar="NAMES")
    parser.add_argument("-k", "--kube-virt-interfaces", default="", metavar="NAMES")


def from_arguments(args: argparse.Namespace) -> Capture:
    """The Capture of parsed flags (see `add_flags`). Raises: BadCapture, naming the flag and the value."""

    def get(name: str, flag: str, kind: str, wildcard: bool = False) -> object:
        text = getattr(args, name)
        return _parse(kind, text, wildcard, f"flag {flag} {text!r}")

    fields = {
        "proxy_port": get("envoy_port", "-p", "port"),
        "inbound_port": get("inbound_capture_port", "-z", "port"),
        "tunnel_port": get("inbound_tunnel_port", "-e", "port"),
        "uid": get("proxy_uid", "-u", "id"),
        "gid": get("proxy_gid", "-g", "id") if args.proxy_gid else get("proxy_uid", "-u", "id"),
        "include_cidrs": get("istio_service_cidr", "-i", "cidrs", True),
        "exclude_cidrs": get("istio_service_exclude_cidr", "-x", "cidrs"),
        "include_inbound_ports": get("istio_inbound_ports", "-b", "ports", True),
        "exclude_inbound_ports": get("istio_local_exclude_ports", "-d", "ports"),
        "include_outbound_ports": get("istio_outbound_ports", "-q", "ports"),
        "exclude_outbound_ports": get("istio_local_outbound_ports_exclude", "-o", "ports"),
        "exclude_interfaces": get("istio_exclude_interfaces", "-c", "interfaces"),
        "virtual_interfaces": get("kube_virt_interfaces", "-k", "interfaces"),
    }
    return Capture(**fields)  # type: ignore[arg-type]


def parse_arguments(words: Sequence[str]) -> Capture:
    """`Capture.arguments` read back. Raises: BadCapture; SystemExit on unknown flags (argparse)."""
    parser = argparse.ArgumentParser(prog="injector iptables")
    add_flags(parser)
    return from_arguments(parser.parse_args(list(words)))


def _join(ports: Sequence[int]) -> str:
    return ",".join(map(str, ports))


def _parse(kind: str, text: str, wildcard: bool, where: str) -> object:
    if kind == "port":
        return _number(text, 1, 65535, "port", where)
    if kind == "id":
        return _number(text, 0, 2**32 - 2, "numeric id", where)
    if text.strip() == ALL:
        if wildcard:
            return None
        raise BadCapture(f'{where}: "*" is not allowed here; write a comma-separated list')
    items = [item.strip() for item in text.split(",")] if text.strip() else []
    match kind:
        case "ports":
            return _unique(_number(item, 1, 65535, "port", where) for item in items)
        case "cidrs":
            return _unique(_cidr(item, where) for item in items)
        case _:
            return _unique(_interface(item, where) for item in items)


def _unique(items: object) -> tuple[object, ...]:
    return tuple(dict.fromkeys(items))  # type: ignore[call-overload]


def _number(text: str, low: int, high: int, noun: str, where: str) -> int:
    if not (text.isascii() and text.isdigit() and low <= int(text) <= high):
        raise BadCapture(f"{where}: {text!r} is not a {noun} ({low}..{high})")
    return int(text)


def _cidr(text: str, where: str) -> str:
    try:
        # Not strict, as Istio: 10.1.2.3/8 means 10.0.0.0/8, and a bare address means itself alone.
        return str(ipaddress.ip_network(text, strict=False))
    except ValueError as exc:
        raise BadCapture(f"{where}: {text!r} is not a CIDR: {exc}") from exc


def _interface(text: str, where: str) -> str:
    if not _INTERFACE.fullmatch(text):
        raise BadCapture(f"{where}: {text!r} is not an interface name (1..15 characters)")
    return text
