from mesh.model.failure import Flag
from mesh.proxy.connection_log import ConnectionLog
from mesh.proxy.observe.record import Connection, TcpRecord


class Logger:
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.told: list[TcpRecord] = []

    def log(self, record: TcpRecord) -> None:
        self.told.append(record)


def test_the_first_to_listen_is_told_at_the_end() -> None:
    first, second = Logger(), Logger()
    log = ConnectionLog()
    log.open((first,), Connection("a:1"), 1.0)  # type: ignore[arg-type]
    log.open((second,), Connection("b:2"), 2.0)  # type: ignore[arg-type]
    assert first.told == []
    log.refused("filter_chain_not_found", Flag.NO_ROUTE)
    log.end(3.0)
    (record,) = first.told
    assert (record.connection.remote, record.started_at, record.finished_at) == ("a:1", 1.0, 3.0)
    assert (record.flags, record.details) == ((Flag.NO_ROUTE,), "filter_chain_not_found")
    assert second.told == []


def test_where_nobody_listens_refusals_open_it() -> None:
    refusals = Logger()
    log = ConnectionLog()
    log.open((), Connection("a:1"), 1.0)
    log.open((refusals,), Connection("a:1"), 2.0)  # type: ignore[arg-type]
    log.end(3.0)
    assert len(refusals.told) == 1


def test_nobody_at_all_is_told_nothing() -> None:
    log = ConnectionLog()
    log.refused("why")
    log.end(1.0)
