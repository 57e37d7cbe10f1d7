import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import trio
import trio.testing

from mesh.proxy.poller import HANGUP, READ, WRITE, Channel, Parker, Poller, raise_descriptor_limit, wait_either


@asynccontextmanager
async def pair() -> AsyncIterator[tuple[Poller, Channel, socket.socket]]:
    poller = Poller()
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    channel = poller.open(ours, Parker())
    async with trio.open_nursery() as nursery:
        nursery.start_soon(poller.run)
        try:
            yield poller, channel, theirs
        finally:
            channel.close()
            theirs.close()
            nursery.cancel_scope.cancel()
    poller.close()


async def test_recv_waits_for_bytes_and_then_for_the_end() -> None:
    async with pair() as (_, channel, theirs):
        async with trio.open_nursery() as nursery:

            async def receive() -> None:
                assert await channel.recv(100) == b"abc"
                assert await channel.recv(100) == b""

            nursery.start_soon(receive)
            await trio.testing.wait_all_tasks_blocked()
            theirs.sendall(b"abc")
            await trio.testing.wait_all_tasks_blocked()
            theirs.shutdown(socket.SHUT_WR)


async def test_an_end_that_came_with_the_bytes_is_not_lost() -> None:
    async with pair() as (_, channel, theirs):
        theirs.sendall(b"abc")
        theirs.shutdown(socket.SHUT_WR)
        await trio.testing.wait_all_tasks_blocked()
        assert channel.hung_up
        with trio.fail_after(1):
            assert await channel.recv(100) == b"abc"
            assert await channel.recv(100) == b""


async def test_a_short_read_spares_the_next_one_until_there_is_news() -> None:
    async with pair() as (_, channel, theirs):
        theirs.sendall(b"abc")
        assert channel.try_recv(100) == b"abc"
        assert not channel.is_readable and channel.try_recv(100) is None
        theirs.sendall(b"def")
        await trio.testing.wait_all_tasks_blocked()
        assert channel.is_readable and channel.try_recv(3) == b"def"
        assert channel.is_readable  # a full read says nothing about what is left


async def test_send_all_waits_for_room() -> None:
    data = bytes(range(256)) * 40_000
    async with pair() as (_, channel, theirs):
        received = bytearray()
        async with trio.open_nursery() as nursery:

            async def drain() -> None:
                while len(received) < len(data):
                    received.extend(await trio.to_thread.run_sync(theirs.recv, 1 << 20))

            nursery.start_soon(channel.send_all, data)
            await trio.testing.wait_all_tasks_blocked()
            nursery.start_soon(drain)
        assert bytes(received) == data


async def test_idle_channels_report_their_events() -> None:
    async with pair() as (_, channel, theirs):
        seen: list[bool] = []
        channel.on_idle = lambda: seen.append(channel.hung_up)
        theirs.close()
        await trio.testing.wait_all_tasks_blocked()
        assert seen[-1] is True


async def test_what_callbacks_put_off_is_done_when_the_batch_is_over() -> None:
    async with pair() as (poller, channel, theirs):
        seen: list[str] = []

        def on_event() -> None:
            seen.append("event")
            poller.after_batch.append(
                lambda: (seen.append("first"), poller.after_batch.append(lambda: seen.append("second")))
            )

        await trio.testing.wait_all_tasks_blocked()
        channel.on_idle = on_event
        theirs.sendall(b"x")
        await trio.testing.wait_all_tasks_blocked()
        assert seen == ["event", "first", "second"] and poller.after_batch == []
        channel.on_idle = None


async def test_either_of_two_channels_wakes_the_task() -> None:
    async with pair() as (poller, channel, theirs):
        more, other = socket.socketpair()
        more.setblocking(False)
        second = poller.open(more, channel.parker)
        await trio.testing.wait_all_tasks_blocked()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(wait_either, channel.parker, channel, HANGUP, second, READ)
            await trio.testing.wait_all_tasks_blocked()
            theirs.sendall(b"not what is waited for")
            await trio.testing.wait_all_tasks_blocked()
            assert len(nursery.child_tasks) == 1
            other.sendall(b"x")
        assert channel.interest == second.interest == 0
        second.close()
        other.close()


async def test_a_cancelled_wait_leaves_the_channel_usable() -> None:
    async with pair() as (_, channel, theirs):
        with trio.move_on_after(0.01):
            await channel.wait(READ)
        theirs.sendall(b"abc")
        with trio.fail_after(1):
            assert await channel.recv(10) == b"abc"
            channel.interest = WRITE


async def test_a_recv_can_be_ended_from_outside() -> None:
    async with pair() as (_, channel, theirs):
        async with trio.open_nursery() as nursery:

            async def receive() -> None:
                assert await channel.recv(10) == b""

            nursery.start_soon(receive)
            await trio.testing.wait_all_tasks_blocked()
            channel.end_recv()
        theirs.close()
        channel.end_recv()
        channel.shutdown_send()


def test_the_descriptor_limit_is_the_hard_one() -> None:
    assert raise_descriptor_limit() >= 1024


async def test_a_listening_socket_is_called_for_as_long_as_connections_wait() -> None:
    poller = Poller()
    calls = 0
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.setblocking(False)

        def accept() -> None:
            nonlocal calls
            calls += 1
            server.accept()[0].close()

        channel = poller.listen(server, accept)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(poller.run)
            for _ in range(2):
                await (await trio.open_tcp_stream(*server.getsockname())).aclose()
            with trio.fail_after(1):
                while calls < 2:
                    await trio.testing.wait_all_tasks_blocked()
            poller.mute(channel)
            await (await trio.open_tcp_stream(*server.getsockname())).aclose()
            await trio.testing.wait_all_tasks_blocked(0.01)
            assert calls == 2
            poller.unmute(channel)
            with trio.fail_after(1):
                while calls < 3:
                    await trio.testing.wait_all_tasks_blocked()
            channel.close()
            nursery.cancel_scope.cancel()
    poller.close()


async def test_what_callbacks_put_off_is_done_even_if_it_puts_off_more() -> None:
    poller = Poller()
    done: list[int] = []
    poller.after_batch.append(lambda: (done.append(1), poller.after_batch.append(lambda: done.append(2)))[0])
    poller.flush()
    assert (done, poller.after_batch) == ([1, 2], [])
    poller.close()
