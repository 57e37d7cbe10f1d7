"""The client of a real runtime."""

import os
import signal
from pathlib import Path

import pytest
import trio
import trio.testing

from mesh.sandbox.node.runtimeclient import RuntimeClient, RuntimeFailure
from tests.support.node_runtime import runtime

pytestmark = [pytest.mark.root, pytest.mark.skipif(os.geteuid() != 0, reason="needs root (namespaces, mounts)")]


async def test_a_second_agent_finds_what_the_first_has_started(tmp_path: Path) -> None:
    async with runtime(tmp_path) as box, trio.open_nursery() as nursery:
        await box.start("exit 7")
        ended = await box.client.wait("u/c/0")
        await box.start("exec sleep 1000", id="u/d/0", directory=str(tmp_path / "d"))
        second = await RuntimeClient.connect(tmp_path / "s")
        nursery.start_soon(second.run)
        known = await second.containers()
        assert known.keys() == {"u/c/0", "u/d/0"}
        assert (known["u/c/0"].exit, known["u/d/0"].exit) == (ended, None) and ended.code == 7
        assert second.exit_of("u/c/0") == ended and second.exit_of("u/d/0") is None
        assert known["u/c/0"].started_at <= ended.finished_at
        await box.client.signal("u/d/0", 15)  # a first process that has no handler ignores it
        await second.signal("u/d/0", 9)
        assert [(await client.wait("u/d/0")).signal for client in (box.client, second)] == [9, 9]  # both are told
        nursery.cancel_scope.cancel()
        second.close()


async def test_refusals_are_in_words(tmp_path: Path) -> None:
    async with runtime(tmp_path) as box:
        await box.start("exec sleep 1000")
        with pytest.raises(RuntimeFailure, match="u/c/0 is already running"):
            await box.start("true")
        with pytest.raises(RuntimeFailure, match="u/c/0 is still running"):
            await box.client.forget("u/c/0")
        with pytest.raises(RuntimeFailure, match="not started with stdin: true"):
            await box.client.attach("u/c/0", stdin=True, outputs={})
        with pytest.raises(RuntimeFailure, match="none is not running"):
            await box.client.execute("none", ["true"], None)
        with pytest.raises(RuntimeFailure, match="No such file"):
            await box.client.start(tmp_path / "nothing.json")
        await box.client.signal("none", 9)  # who is not there is left alone


async def test_a_cancelled_call_is_still_carried_out(tmp_path: Path) -> None:
    async with runtime(tmp_path) as box:
        with trio.CancelScope() as scope:
            scope.cancel()
            await box.start("exit 0")
        assert (await box.client.wait("u/c/0")).code == 0


async def test_a_runtime_that_goes_is_said(tmp_path: Path) -> None:
    with pytest.RaisesGroup(pytest.RaisesExc(RuntimeFailure, match="has gone away")):
        async with runtime(tmp_path) as box:
            box.process.kill()
            await trio.sleep_forever()


async def test_a_runtime_that_goes_while_it_is_asked_is_said_to_who_asks(tmp_path: Path) -> None:
    failures: list[str] = []

    async def ask(client: RuntimeClient) -> None:
        with trio.CancelScope(shield=True):
            try:
                await client.containers()
            except RuntimeFailure as exc:
                failures.append(str(exc))

    with pytest.RaisesGroup(pytest.RaisesExc(RuntimeFailure, match="has gone away")):
        async with runtime(tmp_path) as box, trio.open_nursery() as nursery:
            box.process.send_signal(signal.SIGSTOP)
            nursery.start_soon(ask, box.client)
            await trio.testing.wait_all_tasks_blocked()
            box.process.kill()
            await trio.sleep_forever()
    assert failures == ["the container runtime has gone away"]
    with pytest.raises(RuntimeFailure, match="has gone away"):
        await box.client.containers()


async def test_a_call_does_not_outlive_who_would_receive_its_answer(tmp_path: Path) -> None:
    async with runtime(tmp_path) as box:
        second = await RuntimeClient.connect(tmp_path / "s")
        box.process.send_signal(signal.SIGSTOP)
        with trio.fail_after(10):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(second.run)
                nursery.start_soon(second.containers)
                await trio.testing.wait_all_tasks_blocked()
                nursery.cancel_scope.cancel()
        second.close()


async def test_no_runtime_is_an_os_error(tmp_path: Path) -> None:
    with pytest.raises(OSError):
        await RuntimeClient.connect(tmp_path / "none")
