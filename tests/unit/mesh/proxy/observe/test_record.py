from mesh.model.failure import Failure, Flag, Side
from mesh.proxy.observe.record import Connection, TcpRecord
from tests.support.observe import record


def test_a_failure_leaves_its_traces() -> None:
    item = record()
    item.flag(Flag.DELAY_INJECTED)
    item.fail(Failure(Flag.UPSTREAM_CONNECT_FAILURE, Side.REMOTE, 503, "refused"))
    assert (item.flags, item.details, item.status) == (
        (Flag.DELAY_INJECTED, Flag.UPSTREAM_CONNECT_FAILURE),
        "refused",
        503,
    )


def test_records_share_nothing_but_defaults() -> None:
    one, other = record(), record()
    one.flag(Flag.DELAY_INJECTED)
    one.attempts = 3
    assert (other.flags, other.attempts) == ((), 0)


def test_a_tcp_record_has_an_empty_head() -> None:
    item = TcpRecord(Connection(), 1.0)
    assert (item.head.method, item.head.get(b"x"), item.protocol, item.status) == (b"", None, "", 0)
