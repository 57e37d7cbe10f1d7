from mesh.model.failure import Flag
from mesh.proxy.observe.istio import RequestLabels, tcp_group
from mesh.proxy.observe.metrics import Registry
from mesh.proxy.observe.peer import UNKNOWN
from mesh.proxy.observe.record import Connection, TcpRecord
from mesh.proxy.observe.tcp import TcpObserver
from tests.support.observe import REVIEWS, host


class Bench:
    def __init__(self) -> None:
        self.registry = Registry()
        self.observer = TcpObserver(self.registry.add(tcp_group()), RequestLabels(UNKNOWN, is_inbound=False), ())

    def begin(self) -> TcpRecord:
        item = TcpRecord(Connection("1.1.1.1:1", "2.2.2.2:3306"), 10.0)
        item.cluster, item.host = REVIEWS, host()
        self.observer.begin(item, 10.0)
        return item

    def values(self) -> dict[str, float]:
        found: dict[str, float] = {}
        for family in self.registry.families(20.0):
            name = family.metric.name.removeprefix("istio_tcp_")
            found[name] = sum(sample.value for sample in family.samples)
        return found


def test_a_connection_is_opened_and_closed() -> None:
    bench = Bench()
    item = bench.begin()
    item.bytes_sent, item.bytes_received = 100, 7
    bench.observer.end(item, 12.0)
    assert bench.values() == {
        "connections_opened_total": 1,
        "connections_closed_total": 1,
        "sent_bytes_total": 100,
        "received_bytes_total": 7,
    }
    assert item.finished_at == 12.0


def test_a_living_connections_bytes_are_seen_and_counted_once() -> None:
    bench = Bench()
    item = bench.begin()
    item.bytes_sent = 100
    bench.observer.collect(11.0)
    bench.observer.collect(11.5)
    assert (bench.values()["sent_bytes_total"], bench.values()["connections_closed_total"]) == (100, 0)
    item.bytes_sent = 150
    bench.observer.end(item, 12.0)
    assert bench.values()["sent_bytes_total"] == 150


def test_the_flags_of_the_end_are_on_the_closed_series() -> None:
    bench = Bench()
    item = bench.begin()
    item.flag(Flag.UPSTREAM_CONNECTION_TERMINATION)
    bench.observer.end(item, 12.0)
    text = bench.registry.expose(20.0).decode()
    closed = [line for line in text.splitlines() if line.startswith("istio_tcp_connections_closed_total") and line.endswith(" 1")]
    assert len(closed) == 1 and 'response_flags="UC"' in closed[0]


def test_what_never_began_is_not_counted() -> None:
    bench = Bench()
    bench.observer.end(TcpRecord(Connection(), 10.0), 11.0)
    assert bench.values() == {}
