import json

import pytest

from mesh.model.failure import Flag
from mesh.model.listener import AccessLog
from mesh.proxy.match import CompileError
from mesh.proxy.observe.access_log import ISTIO_JSON, AccessLogger, compile_format, default_log
from mesh.proxy.observe.clock import WALL
from mesh.proxy.observe.record import Connection, Record, TcpRecord
from tests.support.observe import REVIEWS, head, host, record


@pytest.fixture(autouse=True)
def fixed_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(WALL, "offset", 1_700_000_000.0 - 100.0)


def finished() -> Record:
    item = record(head("GET", '/productpage?u="x"', "reviews:9080", user_agent='cu"rl\u00e9'))
    item.status, item.bytes_sent, item.finished_at = 503, 7, 100.25
    item.request_id, item.host, item.cluster = b"id-1", host("10.0.0.2:9080"), REVIEWS
    item.flags, item.details = (Flag.UPSTREAM_CONNECT_FAILURE,), "refused"
    return item


def test_json_has_istios_keys_in_istios_order_then_ours() -> None:
    line = compile_format(default_log("-", "JSON"))(finished())
    assert line.endswith(b"}\n") and line.count(b"\n") == 1
    assert list(json.loads(line)) == [*(key for key, _ in ISTIO_JSON), "trace_id", "route_origin"]


def test_json_values_have_types() -> None:
    found = json.loads(compile_format(default_log("-", "JSON"))(finished()))
    assert found["start_time"] == "2023-11-14T22:13:20.000Z"
    assert (found["response_code"], found["bytes_sent"], found["duration"]) == (503, 7, 250)
    assert (found["response_flags"], found["route_name"], found["path"]) == ("UF", None, '/productpage?u="x"')
    assert found["user_agent"] == 'cu"rl\u00c3\u00a9'  # bytes are read as Latin-1, never an error


def test_istios_text_line() -> None:
    assert compile_format(default_log("-", "TEXT"))(finished()).decode() == (
        '[2023-11-14T22:13:20.000Z] "GET /productpage?u="x" HTTP/1.1" 503 UF refused - "-" 0 7 250 - "-" '
        '"cu"rl\u00c3\u00a9" "id-1" "reviews:9080" "10.0.0.2:9080" outbound|9080|v1|reviews.default.svc.cluster.local - '
        "10.0.0.1:9080 10.0.0.9:40000 - -\n"
    )


def test_tcp_connections_have_a_line_too() -> None:
    item = TcpRecord(Connection("10.0.0.9:1", "10.0.0.1:3306"), 100.0)
    item.bytes_received, item.finished_at = 5, 101.0
    found = json.loads(compile_format(default_log("-", "JSON"))(item))
    assert (found["method"], found["protocol"], found["bytes_received"], found["duration"]) == (None, None, 5, 1000)
    assert found["response_code"] == 0


def test_formats_of_ones_own() -> None:
    log = AccessLog("-", json=(("a", "%RESPONSE_CODE%/%REQ(:METHOD)%"), ("b", "fixed")))
    assert json.loads(compile_format(log)(finished())) == {"a": "503/GET", "b": "fixed"}
    assert compile_format(AccessLog("-", text="%RESPONSE_CODE%\n"))(finished()) == b"503\n"
    assert compile_format(AccessLog("-", json=()))(finished()) == b"{}\n"


def test_a_bad_format_names_log_and_key() -> None:
    with pytest.raises(CompileError, match=r"access log /dev/stdout bad: unknown command operator %X%"):
        compile_format(AccessLog("/dev/stdout", json=(("bad", "%X%"),)))


def test_only_two_encodings() -> None:
    with pytest.raises(ValueError, match="neither JSON nor TEXT"):
        default_log("-", "XML")


def test_lines_go_to_the_sink() -> None:
    class Sink:
        lines: list[bytes] = []

        def write(self, line: bytes, /) -> None:
            self.lines.append(line)

    sink = Sink()
    AccessLogger(AccessLog("-", text="%RESPONSE_CODE%\n"), sink).log(finished())
    assert sink.lines == [b"503\n"]
