"""The keeper against a real CA over TLS: the first certificate, renewals, refusals, roots that change, and restarts."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import grpc
import pytest
import trio
import trio.testing

from mesh.model.addr import Address
from mesh.proxy.certificate_request import CertificateRequest, make_request
from mesh.proxy.control_plane import ControlPlane
from mesh.proxy.identity import Identity
from mesh.proxy.identity_keeper import IdentityKeeper, IdentitySettings
from tests.support.proxy_ca import NAME, Ca, serving_ca, token
from tests.support.proxy_tls import Authority

ROOT = Authority()


async def request() -> CertificateRequest:
    return make_request()


@asynccontextmanager
async def keeping(
    plane: ControlPlane, file: Path | None = None, account: str = "reviews"
) -> AsyncIterator[tuple[IdentityKeeper, trio.MemoryReceiveChannel[Identity]]]:
    send, receive = trio.open_memory_channel[Identity](100)
    keeper = IdentityKeeper(IdentitySettings(plane, "shop", account, file), send.send_nowait, request)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(keeper.run)
        yield keeper, receive
        nursery.cancel_scope.cancel()


async def until(is_so: Callable[[], bool]) -> None:
    with trio.fail_after(10):
        while True:
            if is_so():
                return
            await trio.sleep(0.01)


async def next_of(identities: trio.MemoryReceiveChannel[Identity]) -> Identity:
    with trio.fail_after(10):
        return await identities.receive()


@pytest.mark.parametrize("account", ["reviews", ""])
async def test_the_first_certificate_is_verified_published_and_kept(tmp_path: Path, account: str) -> None:
    ca = Ca(ROOT)
    file = tmp_path / "identity.pem"
    with serving_ca(ca, tmp_path) as plane:
        async with keeping(plane, file, account) as (keeper, identities):
            identity = await next_of(identities)
            assert identity.principal == NAME and identity.roots_pem == ROOT.pem
            assert keeper.identity is identity and (keeper.requests, keeper.failures) == (1, 0)
    assert ca.bearers == [f"Bearer {token()}"] and file.exists()


async def test_a_certificate_is_renewed_before_it_ends_with_the_token_of_then(tmp_path: Path) -> None:
    ca = Ca(ROOT, lifetime=timedelta(seconds=2))
    with serving_ca(ca, tmp_path) as plane:
        # The test authority backdates by two days: half of such a life is always over.
        async with keeping(plane) as (_, identities):
            first = await next_of(identities)
            (tmp_path / "token").write_text(token(mark="2"))
            second = await next_of(identities)
            assert second.certificate.key_pem != first.certificate.key_pem
    assert ca.bearers[0] == f"Bearer {token()}" and f"Bearer {token(mark='2')}" in ca.bearers


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"refuse": (grpc.StatusCode.UNAUTHENTICATED, "the token is for another audience")}, "another audience"),
        ({"refuse": (grpc.StatusCode.UNAVAILABLE, "not the leader")}, "not the leader"),
        ({"name": "spiffe://cluster.local/ns/shop/sa/ratings"}, "is not used: it is for"),
        ({"root": Authority("others")}, "is not used: peers would refuse it"),
        ({"lifetime": timedelta(seconds=-1)}, "has expired"),
    ],
)
async def test_what_is_wrong_is_said_once_and_asking_goes_on(
    tmp_path: Path, changes: dict[str, object], said: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    ca = Ca(ROOT)
    with serving_ca(ca, tmp_path) as plane:
        good = replace(ca)
        for name, value in changes.items():
            setattr(ca, name, value)
        async with keeping(plane) as (keeper, identities):
            await until(lambda: keeper.failures >= 3)
            warnings = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
            assert len(warnings) == 1 and said in warnings[0] and "there is none yet" in warnings[0]
            assert keeper.identity is None
            for name in changes:
                setattr(ca, name, getattr(good, name))
            assert (await next_of(identities)).principal == NAME


async def test_a_ca_that_is_away_costs_one_key(tmp_path: Path) -> None:
    made: list[CertificateRequest] = []

    async def counted() -> CertificateRequest:
        made.append(make_request())
        return made[-1]

    ca = Ca(ROOT, refuse=(grpc.StatusCode.UNAVAILABLE, "later"))
    with serving_ca(ca, tmp_path) as plane:
        send, receive = trio.open_memory_channel[Identity](100)
        keeper = IdentityKeeper(IdentitySettings(plane, "shop", "reviews"), send.send_nowait, counted)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(keeper.run)
            await until(lambda: keeper.failures >= 2)
            ca.refuse = None
            identity = await next_of(receive)
            nursery.cancel_scope.cancel()
    assert [each.key_pem for each in made] == [identity.certificate.key_pem]


async def test_files_that_are_still_to_come_are_waited_for(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with serving_ca(Ca(ROOT), tmp_path) as plane:
        for name, what in (("roots.pem", "triomesh-ca-root-cert"), ("token", "kubelet projects it")):
            caplog.clear()
            whole = (tmp_path / name).read_bytes()
            (tmp_path / name).unlink()
            async with keeping(plane) as (keeper, identities):
                await until(lambda: keeper.failures >= 2)
                warnings = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
                assert len(warnings) == 1 and what in warnings[0] and str(tmp_path / name) in warnings[0]
                (tmp_path / name).write_bytes(whole)
                await next_of(identities)


async def test_a_server_that_the_roots_do_not_know_gets_no_token(tmp_path: Path) -> None:
    ca = Ca(ROOT)
    with serving_ca(ca, tmp_path, server_root=Authority("impostor")) as plane:
        async with keeping(plane) as (keeper, _):
            await until(lambda: keeper.failures >= 2)
    assert ca.bearers == []


async def test_a_restart_goes_on_with_the_file_while_the_ca_is_away(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    file = tmp_path / "identity.pem"
    # Its life began two days ago and is not half over.
    with serving_ca(Ca(ROOT, lifetime=timedelta(days=10)), tmp_path) as plane:
        async with keeping(plane, file) as (_, identities):
            first = await next_of(identities)
    away = replace(plane, address=Address("127.0.0.1", 1))
    async with keeping(away, file) as (keeper, identities):
        assert (await next_of(identities)).certificate == first.certificate
        await trio.testing.wait_all_tasks_blocked()
        assert keeper.requests == 0
    caplog.clear()
    file.write_bytes(file.read_bytes()[:-50])
    async with keeping(away, file) as (keeper, _):
        await until(lambda: keeper.failures > 0)
        assert keeper.identity is None
    assert any(f"{file} is not used" in record.getMessage() for record in caplog.records)


async def test_roots_that_change_are_published_and_may_need_another_certificate(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mesh.proxy.identity_keeper._LOOK_SECONDS", 0.02)
    ca = Ca(ROOT, lifetime=timedelta(days=10))
    other = Authority("next")
    with serving_ca(ca, tmp_path) as plane:
        async with keeping(plane) as (keeper, identities):
            first = await next_of(identities)
            both = ROOT.pem + other.pem
            (tmp_path / "roots.pem").write_bytes(both)
            second = await next_of(identities)
            assert (second.roots_pem, second.certificate) == (both, first.certificate) and keeper.requests == 1
            ca.root = other
            (tmp_path / "roots.pem").write_bytes(other.pem)
            await until(lambda: keeper.requests >= 2)
            assert keeper.identity is second  # the server itself is still of the old root: it goes on with what it has
            (tmp_path / "roots.pem").write_bytes(both)
            third = await next_of(identities)
            while third.certificate == first.certificate:
                third = await next_of(identities)
            assert third.roots_pem == both
