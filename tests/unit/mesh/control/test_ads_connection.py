"""One connection against a fake gRPC context: coalescing, write order, deadlines."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import envoy.service.discovery.v3.discovery_pb2 as discovery_pb
import grpc
import pytest
from grpc.aio import EOF

from mesh.control.ads_connection import AdsConnection, AdsLimits, Refused
from mesh.control.caller import Caller
from mesh.model.cluster import Discovery
from mesh.xds.ads_client import AdsClient
from mesh.xds.encode import Encoder
from mesh.xds.kind import Variant
from tests.support.xds_server import Counts, Source
from tests.support.xds_wire import NODE, cluster, snapshot


class Context:
    """What a servicer sees of a stream; writes wait until the test lets them through."""

    def __init__(self) -> None:
        self.incoming: asyncio.Queue = asyncio.Queue()
        self.written: asyncio.Queue = asyncio.Queue()
        self.may_write = asyncio.Event()
        self.may_write.set()
        self.writing = asyncio.Event()

    async def read(self):
        return await self.incoming.get()

    async def write(self, body: bytes) -> None:
        self.writing.set()
        await self.may_write.wait()
        self.writing.clear()
        await self.written.put(body)


def version(number: int):
    return snapshot(cluster("c", float(number), Discovery.STATIC))


def connection(context: Context, source: Source, **limits) -> AdsConnection:
    return AdsConnection(Variant.DELTA, context, source, Encoder(), Counts(), lambda nack: None, AdsLimits(**limits))


def timeouts(body: bytes) -> list[int]:
    from mesh.xds.decode import decode
    from mesh.xds.kind import Kind

    message = discovery_pb.DeltaDiscoveryResponse.FromString(body)
    return [int(decode(Kind.CLUSTER, item.resource.value).connect_timeout_seconds) for item in message.resources]


def run(test) -> None:
    async def limited() -> None:
        await asyncio.wait_for(test(), 20)

    asyncio.run(limited())


def test_changes_during_a_blocked_write_become_one_push():
    async def test() -> None:
        context, source = Context(), Source()
        source.publish(version(1))
        task = asyncio.create_task(connection(context, source).run())
        context.may_write.clear()
        await context.incoming.put(AdsClient(NODE).on_open()[0])
        await context.writing.wait()
        for number in (2, 3, 4):
            source.publish(version(number))
        context.may_write.set()
        assert timeouts(await context.written.get()) == [1]
        assert timeouts(await context.written.get()) == [4]
        await context.incoming.put(EOF)
        await task
        assert context.written.empty()
        assert source.subscribers == {}

    run(test)


def test_end_of_the_client_ends_the_connection():
    async def test() -> None:
        context, source = Context(), Source()
        await context.incoming.put(EOF)
        await connection(context, source).run()

    run(test)


def test_close_ends_with_unavailable():
    async def test() -> None:
        context, source = Context(), Source()
        open_one = connection(context, source)
        task = asyncio.create_task(open_one.run())
        open_one.close()
        with pytest.raises(Refused, match="shutting down"):
            await task

    run(test)


def test_silent_client_is_dropped():
    async def test() -> None:
        with pytest.raises(Refused, match="no request came"):
            await connection(Context(), Source(), first_request_seconds=0.0).run()

    run(test)


def test_cancelled_connection_leaves_no_subscription():
    async def test() -> None:
        context, source = Context(), Source()
        task = asyncio.create_task(connection(context, source).run())
        await context.incoming.put(AdsClient(NODE).on_open()[0])
        await context.written.get()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert source.subscribers == {}

    run(test)


@pytest.mark.parametrize(("caller", "has_identity"), [(None, False), (Caller(NODE.namespace, "cart", NODE.name), True)])
def test_a_node_has_the_identity_of_its_stream_and_none_by_its_own_word(
    caller: Caller | None, has_identity: bool
) -> None:
    """The source is asked for a node that has it, so that everything kept by node is kept apart."""
    node = replace(NODE, metadata={**NODE.metadata, "SERVICE_ACCOUNT": "cart", "has_identity": True}, has_identity=True)

    async def story() -> None:
        context, source = Context(), Source()
        source.snapshot = version(1)
        found = AdsConnection(
            Variant.DELTA, context, source, Encoder(), Counts(), lambda nack: None, AdsLimits(), caller
        )  # fmt: skip
        running = asyncio.create_task(found.run())
        for body in AdsClient(node).on_open():
            context.incoming.put_nowait(body)
        async with asyncio.timeout(10):
            await context.written.get()
            context.incoming.put_nowait(EOF)
            await running
        assert [asked.has_identity for asked in source.asked] == [has_identity]

    asyncio.run(story())


def test_a_node_of_another_namespace_than_its_token_ends_the_stream() -> None:
    async def story() -> None:
        context, source = Context(), Source()
        found = AdsConnection(
            Variant.DELTA, context, source, Encoder(), Counts(), lambda nack: None, AdsLimits(), Caller("other", "cart")
        )  # fmt: skip
        for body in AdsClient(NODE).on_open():
            context.incoming.put_nowait(body)
        with pytest.raises(Refused, match="its namespace is") as caught:
            async with asyncio.timeout(10):
                await found.run()
        assert caught.value.code is grpc.StatusCode.PERMISSION_DENIED
        assert source.asked == []

    asyncio.run(story())
