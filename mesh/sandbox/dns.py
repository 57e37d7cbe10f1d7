"""The cluster's DNS: names of Services, pods and StatefulSet pods. Decisions are pure; `serve` is the shell (trio).

Anything outside `cluster.local` and the reverse zones is answered NXDOMAIN at once: the sandbox reaches no other network.
Source: Kubernetes DNS-Based Service Discovery 1.1.0; RFC 1035 (messages), RFC 2308 2.2 (NODATA), RFC 2782 (SRV), RFC 6891 (EDNS).
"""

import ipaddress
import random
import struct
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

DOMAIN = "cluster.local"
TTL_SECONDS = 5
A, NS, CNAME, SOA, PTR, TXT, AAAA, SRV, OPT, ANY = 1, 2, 5, 6, 12, 16, 28, 33, 41, 255
NOERROR, FORMERR, SERVFAIL, NXDOMAIN, NOTIMP, REFUSED = 0, 1, 2, 3, 4, 5
_MAX_UDP_BYTES = 1232
_MAX_CNAMES = 8
SERVICE_NAME_LABEL = "kubernetes.io/service-name"

Json = dict[str, Any]


class BadMessage(ValueError):
    """Not a DNS query that can be answered; says at which byte."""


@dataclass(frozen=True, slots=True)
class Query:
    """One question. `udp_bytes` is what the client can take over UDP; `edns` whether it said so."""

    id: int
    opcode: int
    recursion: bool
    name: str
    kind: int
    klass: int
    udp_bytes: int
    edns: bool
    question: bytes


@dataclass(frozen=True, slots=True)
class Record:
    """One resource record. `data` is an address, a name, or (priority, weight, port, name)."""

    name: str
    kind: int
    data: str | tuple[int, int, int, str]


@dataclass(slots=True)
class Zone:
    """Everything the cluster's DNS knows; made anew when Services or endpoints change."""

    records: dict[str, list[Record]] = field(default_factory=dict)
    names: set[str] = field(default_factory=set)

    def add(self, record: Record) -> None:
        """Add a record; the names between it and the zone exist from now on (RFC 8020: NODATA, not NXDOMAIN)."""
        bucket = self.records.setdefault(record.name, [])
        if record not in bucket:
            bucket.append(record)
        name = record.name
        while name and name not in self.names:
            self.names.add(name)
            name = name.partition(".")[2]


def build_zone(services: Iterable[Json], slices: Iterable[Json]) -> Zone:
    """All records of the cluster."""
    zone = Zone()
    for name in ("svc", "pod"):
        zone.names.add(f"{name}.{DOMAIN}")
    zone.add(Record(f"dns-version.{DOMAIN}", TXT, "1.1.0"))
    by_service: dict[tuple[str, str], list[Json]] = {}
    for item in slices:
        meta = item["metadata"]
        if owner := (meta.get("labels") or {}).get(SERVICE_NAME_LABEL):
            by_service.setdefault((meta["namespace"], owner), []).append(item)
    for service in services:
        key = (service["metadata"]["namespace"], service["metadata"]["name"])
        _add_service(zone, service, by_service.get(key, []))
    return zone


def answer(zone: Zone, message: bytes, rng: random.Random, *, max_bytes: int | None = None) -> bytes | None:
    """The answer to one message, or None when it deserves none. `max_bytes` None = as much as the client takes over UDP."""
    try:
        query = parse_query(message)
    except BadMessage:
        if len(message) < 12 or message[2] & 0x80:
            return None
        return message[:2] + struct.pack("!HHHHH", 0x8000 | FORMERR, 0, 0, 0, 0)
    if query.opcode != 0:
        return _encode(query, NOTIMP, [], False, 65535)
    code, records = resolve(zone, query.name, query.kind) if query.klass in (1, ANY) else (REFUSED, [])
    rng.shuffle(records) if all(record.kind != CNAME for record in records) else None
    return _encode(query, code, records, code in (NOERROR, NXDOMAIN) and not records, max_bytes or query.udp_bytes)


def resolve(zone: Zone, name: str, kind: int) -> tuple[int, list[Record]]:
    """(response code, records) for a lower-case name without the last dot."""
    found: list[Record] = []
    for _ in range(_MAX_CNAMES):
        records = zone.records.get(name) or _pod_record(zone, name)
        matching = [record for record in records if kind in (record.kind, ANY)]
        if matching:
            return NOERROR, found + matching
        alias = next((record for record in records if record.kind == CNAME), None)
        if alias is None:
            exists = bool(records) or name in zone.names or name == DOMAIN
            return NOERROR if exists or found else NXDOMAIN, found
        found.append(alias)
        name = str(alias.data)
    return SERVFAIL, []


def parse_query(message: bytes) -> Query:
    """Parse the header, the one question and the EDNS size.

    Raises: BadMessage.
    """
    if len(message) < 12:
        raise BadMessage(f"{len(message)} bytes: shorter than a header")
    number, flags, questions, answers, authority, additional = struct.unpack_from("!6H", message)
    if flags & 0x8000 or questions != 1:
        raise BadMessage("byte 2: not a query with one question")
    name, offset = _read_name(message, 12)
    if offset + 4 > len(message):
        raise BadMessage(f"byte {offset}: the question ends early")
    kind, klass = struct.unpack_from("!HH", message, offset)
    size, edns = 512, False
    position = offset + 4
    for _ in range(answers + authority + additional):
        owner, position = _read_name(message, position)
        if position + 10 > len(message):
            raise BadMessage(f"byte {position}: a record ends early")
        record_kind, record_class, _ttl, length = struct.unpack_from("!HHIH", message, position)
        if record_kind == OPT and owner == "":
            size, edns = max(512, min(record_class, _MAX_UDP_BYTES)), True
        position += 10 + length
    return Query(number, flags >> 11 & 15, bool(flags & 0x100), name, kind, klass, size, edns, message[12 : offset + 4])


def encode_query(name: str, kind: int, number: int = 0) -> bytes:
    """A query with recursion desired; for checks and tests."""
    return struct.pack("!6H", number, 0x100, 1, 0, 0, 0) + _name(name) + struct.pack("!HH", kind, 1)


def _add_service(zone: Zone, service: Json, slices: list[Json]) -> None:
    meta, spec = service["metadata"], service["spec"]
    base = f"{meta['name']}.{meta['namespace']}.svc.{DOMAIN}".lower()
    if spec.get("type") == "ExternalName":
        zone.add(Record(base, CNAME, spec["externalName"].rstrip(".").lower()))
        return
    if spec.get("clusterIP") == "None":
        _add_headless(zone, base, slices, bool(spec.get("publishNotReadyAddresses")))
        return
    for address in spec.get("clusterIPs") or [spec.get("clusterIP")]:
        if address:
            _add_address(zone, base, address)
            zone.add(Record(ipaddress.ip_address(address).reverse_pointer, PTR, base))
    for port in spec.get("ports") or ():
        if port.get("name"):
            _add_srv(zone, base, port["name"], port.get("protocol", "TCP"), int(port["port"]), base)


def _add_headless(zone: Zone, base: str, slices: list[Json], unready_too: bool) -> None:
    zone.names.add(base)
    for item in slices:
        for endpoint in item.get("endpoints") or ():
            if not (unready_too or (endpoint.get("conditions") or {}).get("ready", True)):
                continue
            for address in endpoint.get("addresses") or ():
                _add_address(zone, base, address)
                own = endpoint.get("hostname") or address.replace(".", "-").replace(":", "-")
                host = f"{own}.{base}".lower()
                _add_address(zone, host, address)
                if endpoint.get("hostname"):
                    zone.add(Record(ipaddress.ip_address(address).reverse_pointer, PTR, host))
                for port in item.get("ports") or ():
                    if port.get("name"):
                        _add_srv(zone, base, port["name"], port.get("protocol", "TCP"), int(port["port"]), host)


def _add_address(zone: Zone, name: str, address: str) -> None:
    zone.add(Record(name, AAAA if ":" in address else A, address))


def _add_srv(zone: Zone, base: str, port_name: str, protocol: str, port: int, target: str) -> None:
    zone.add(Record(f"_{port_name}._{protocol}.{base}".lower(), SRV, (0, 100, port, target)))


def _pod_record(zone: Zone, name: str) -> list[Record]:
    """a-b-c-d.<namespace>.pod.cluster.local is the address itself (CoreDNS "pods insecure")."""
    parts = name.removesuffix(f".pod.{DOMAIN}").split(".")
    if not name.endswith(f".pod.{DOMAIN}") or len(parts) != 2:
        return []
    try:
        return [Record(name, A, str(ipaddress.IPv4Address(parts[0].replace("-", "."))))]
    except ValueError:
        return []


def _read_name(message: bytes, offset: int) -> tuple[str, int]:
    labels: list[str] = []
    end, jumps = None, 0
    while True:
        if offset >= len(message):
            raise BadMessage(f"byte {offset}: a name ends early")
        length = message[offset]
        if length & 0xC0 == 0xC0:  # RFC 1035 4.1.4: a pointer
            if offset + 1 >= len(message) or jumps > 16:
                raise BadMessage(f"byte {offset}: bad compression")
            end = offset + 2 if end is None else end
            offset, jumps = (length & 0x3F) << 8 | message[offset + 1], jumps + 1
        elif length > 63:
            raise BadMessage(f"byte {offset}: label of {length} bytes")
        elif length == 0:
            return ".".join(labels).lower(), offset + 1 if end is None else end
        else:
            labels.append(message[offset + 1 : offset + 1 + length].decode("latin-1"))
            offset += 1 + length
            if len(labels) > 127:
                raise BadMessage(f"byte {offset}: more than 127 labels")


def _encode(query: Query, code: int, records: list[Record], negative: bool, limit: int) -> bytes:
    answers = [_record(record) for record in records]
    authority = [_soa()] if negative else []
    extra = [b"\0" + struct.pack("!HHIH", OPT, _MAX_UDP_BYTES, 0, 0)] if query.edns else []
    size = 12 + len(query.question) + sum(map(len, answers + authority + extra))
    flags = 0x8400 | (0x0180 if query.recursion else 0x0080) | code
    if size > limit:  # RFC 2181 9: the client comes again over TCP
        answers, authority, flags = [], [], flags | 0x0200
    header = struct.pack("!6H", query.id, flags | query.opcode << 11, 1, len(answers), len(authority), len(extra))
    return header + query.question + b"".join(answers + authority + extra)


def _record(record: Record) -> bytes:
    match record.kind, record.data:
        case (1 | 28), str(address):
            data = ipaddress.ip_address(address).packed
        case 33, (priority, weight, port, target):
            data = struct.pack("!HHH", priority, weight, port) + _name(target)
        case 16, str(text):
            data = bytes([len(text)]) + text.encode()
        case _, target:
            data = _name(str(target))
    return _name(record.name) + struct.pack("!HHIH", record.kind, 1, TTL_SECONDS, len(data)) + data


def _soa() -> bytes:
    numbers = struct.pack("!5I", 1, 7200, 1800, 86400, TTL_SECONDS)
    data = _name(f"ns.dns.{DOMAIN}") + _name(f"hostmaster.{DOMAIN}") + numbers
    return _name(DOMAIN) + struct.pack("!HHIH", SOA, 1, TTL_SECONDS, len(data)) + data


def _name(name: str) -> bytes:
    parts = [part.encode("latin-1") for part in name.split(".") if part]
    return b"".join(bytes([len(part)]) + part for part in parts) + b"\0"


