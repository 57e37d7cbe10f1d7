"""A client's connection without a client: what an exchange writes to it is kept, and no task serves it."""

from __future__ import annotations

from mesh.codec.h1 import RequestHead
from mesh.model.addr import Address
from mesh.proxy.downstream_h1 import Downstream
from mesh.proxy.exchange import decide
from mesh.proxy.forwarding import Forwarding
from mesh.proxy.observe.record import Connection
from mesh.proxy.pipeline import Proxy
from mesh.proxy.poller import Parker
from mesh.proxy.snapshots import HttpTerminal


class FakeKeeper:
    """Counts what a connection without a task asks for."""

    def __init__(self) -> None:
        self.started = self.ended = 0

    def serve(self) -> None:
        self.started += 1

    def end(self) -> None:
        self.ended += 1


class FakeChannel:
    """The client's side: takes everything."""

    hung_up = is_readable = False
    on_idle = None
    interest = 0

    def __init__(self) -> None:
        self.sent = b""

    def try_send(self, data: bytes, offset: int = 0) -> int:
        self.sent += data[offset:]
        return len(data) - offset

    async def send_all(self, data: bytes) -> None:
        self.sent += data


def seat(proxy: Proxy, parker: Parker | None = None, keeper: FakeKeeper | None = None) -> Downstream:
    """A connection of the listener "test"; with a keeper, one that has no task yet."""
    runtime = proxy.current.listeners["test"]
    terminal = runtime.terminal(runtime.model.chains[0])
    assert isinstance(terminal, HttpTerminal)
    down = Downstream(
        proxy,
        terminal,
        FakeChannel(),  # type: ignore[arg-type]
        parker or Parker(),
        Connection("1.2.3.4:5"),
        Address("1.1.1.1", 80),
        keeper or FakeKeeper(),
    )
    down.has_task = keeper is None
    return down


def seated(proxy: Proxy, request: bytes) -> tuple[Forwarding, Downstream]:
    """That request, decided on to be forwarded."""
    down = seat(proxy)
    down.parser.feed(request)
    head = down.parser.head()
    assert isinstance(head, RequestHead)
    decision = decide(down, head)
    assert isinstance(decision, Forwarding)
    return decision, down
