"""The cluster's DNS: names, answers, messages."""

import random
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mesh.sandbox.dns import (
    AAAA,
    ANY,
    CNAME,
    FORMERR,
    NOERROR,
    NOTIMP,
    NXDOMAIN,
    PTR,
    SRV,
    TXT,
    A,
    Record,
    answer,
    build_zone,
    encode_query,
    parse_query,
    resolve,
)

WEB = {"metadata": {"namespace": "default", "name": "web"}, "spec": {"clusterIP": "198.19.3.4", "ports": [{"name": "http", "port": 80}]}}
DB = {"metadata": {"namespace": "default", "name": "db"}, "spec": {"clusterIP": "None"}}
EXTERNAL = {"metadata": {"namespace": "default", "name": "ext"}, "spec": {"type": "ExternalName", "externalName": "web.default.svc.cluster.local."}}
SLICE = {
    "metadata": {"namespace": "default", "labels": {"kubernetes.io/service-name": "db"}},
    "ports": [{"name": "sql", "port": 3306}],
    "endpoints": [
        {"addresses": ["198.18.1.5"], "hostname": "db-0", "conditions": {"ready": True}},
        {"addresses": ["198.18.1.6"], "hostname": "db-1", "conditions": {"ready": False}},
    ],
}
ZONE = build_zone([WEB, DB, EXTERNAL], [SLICE])


@pytest.mark.parametrize(
    ("name", "kind", "code", "data"),
    [
        ("web.default.svc.cluster.local", A, NOERROR, ["198.19.3.4"]),
        ("web.default.svc.cluster.local", AAAA, NOERROR, []),
        ("_http._tcp.web.default.svc.cluster.local", SRV, NOERROR, [(0, 100, 80, "web.default.svc.cluster.local")]),
        ("_tcp.web.default.svc.cluster.local", A, NOERROR, []),
        ("db.default.svc.cluster.local", A, NOERROR, ["198.18.1.5"]),
        ("db-0.db.default.svc.cluster.local", A, NOERROR, ["198.18.1.5"]),
        ("db-1.db.default.svc.cluster.local", A, NXDOMAIN, []),
        ("_sql._tcp.db.default.svc.cluster.local", SRV, NOERROR, [(0, 100, 3306, "db-0.db.default.svc.cluster.local")]),
        ("ext.default.svc.cluster.local", A, NOERROR, ["web.default.svc.cluster.local", "198.19.3.4"]),
        ("ext.default.svc.cluster.local", CNAME, NOERROR, ["web.default.svc.cluster.local"]),
        ("198-18-1-5.default.pod.cluster.local", A, NOERROR, ["198.18.1.5"]),
        ("4.3.19.198.in-addr.arpa", PTR, NOERROR, ["web.default.svc.cluster.local"]),
        ("dns-version.cluster.local", TXT, NOERROR, ["1.1.0"]),
        ("default.svc.cluster.local", A, NOERROR, []),
        ("none.default.svc.cluster.local", A, NXDOMAIN, []),
        ("web.default.svc.cluster.local.default.svc.cluster.local", A, NXDOMAIN, []),
        ("example.com", A, NXDOMAIN, []),
    ],
)
def test_names(name: str, kind: int, code: int, data: list[object]) -> None:
    found = resolve(ZONE, name, kind)
    assert (found[0], [record.data for record in found[1]]) == (code, data)


def test_unready_endpoints_are_published_when_asked_for() -> None:
    db = {**DB, "spec": {**DB["spec"], "publishNotReadyAddresses": True}}
    assert len(resolve(build_zone([db], [SLICE]), "db.default.svc.cluster.local", A)[1]) == 2


def test_a_loop_of_aliases_ends() -> None:
    a, b = ({"metadata": {"namespace": "d", "name": n}, "spec": {"type": "ExternalName", "externalName": f"{m}.d.svc.cluster.local"}} for n, m in ("ab", "ba"))
    assert resolve(build_zone([a, b], []), "a.d.svc.cluster.local", A) == (2, [])


def test_an_answer_carries_the_question_and_the_address() -> None:
    reply = answer(ZONE, encode_query("WEB.default.svc.cluster.local", A, 7), random.Random(1))
    assert reply is not None
    number, flags, questions, answers, *_ = struct.unpack_from("!6H", reply)
    assert (number, flags & 0x8400, flags & 15, questions, answers) == (7, 0x8400, NOERROR, 1, 1)
    assert reply.endswith(bytes([198, 19, 3, 4]))


def test_no_data_and_no_name_differ_and_carry_a_soa() -> None:
    codes = []
    for name in ("default.svc.cluster.local", "x.default.svc.cluster.local"):
        reply = answer(ZONE, encode_query(name, A), random.Random(1))
        assert reply is not None
        _, flags, _, _, authority, _ = struct.unpack_from("!6H", reply)
        assert authority == 1
        codes.append(flags & 15)
    assert codes == [NOERROR, NXDOMAIN]


def test_an_answer_that_does_not_fit_is_cut_and_complete_over_tcp() -> None:
    endpoints = [{"addresses": [f"198.18.2.{n}"]} for n in range(100)]
    zone = build_zone([DB], [{**SLICE, "endpoints": endpoints}])
    query = encode_query("db.default.svc.cluster.local", A)
    cut, whole = answer(zone, query, random.Random(1)), answer(zone, query, random.Random(1), max_bytes=65535)
    assert cut is not None and whole is not None
    assert len(cut) <= 512 and cut[2] & 2
    assert struct.unpack_from("!H", whole, 6) == (100,) and not whole[2] & 2


def test_other_opcodes_are_not_implemented() -> None:
    query = bytearray(encode_query("a", A))
    query[2] |= 4 << 3
    reply = answer(ZONE, bytes(query), random.Random(1))
    assert reply is not None and reply[3] & 15 == NOTIMP


@given(st.binary(max_size=80))
def test_no_bytes_break_the_server(message: bytes) -> None:
    reply = answer(ZONE, message, random.Random(1))
    assert reply is None or reply[:2] == message[:2]


def test_a_compression_loop_is_a_format_error() -> None:
    message = struct.pack("!6H", 1, 0, 1, 0, 0, 0) + b"\xc0\x0c" + struct.pack("!HH", A, 1)
    reply = answer(ZONE, message, random.Random(1))
    assert reply is not None and reply[3] & 15 == FORMERR


def test_edns_raises_the_limit_only_so_far() -> None:
    opt = b"\0" + struct.pack("!HHIH", 41, 65000, 0, 0)
    message = bytearray(encode_query("a", ANY) + opt)
    message[11] = 1
    query = parse_query(bytes(message))
    assert (query.udp_bytes, query.edns) == (1232, True)


def test_records_are_not_doubled() -> None:
    assert len(build_zone([WEB, WEB], []).records["web.default.svc.cluster.local"]) == 1
    assert Record("a", A, "1.1.1.1") == Record("a", A, "1.1.1.1")
