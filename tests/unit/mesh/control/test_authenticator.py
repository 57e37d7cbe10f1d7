"""The Authenticator against an API server: what it asks, what it remembers, what it refuses."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable

import pytest

from mesh.control import authenticator
from mesh.control.authenticator import KEEP_REFUSED_SECONDS, KEEP_SECONDS, Authenticator
from mesh.control.caller import Caller, Denied, Exhausted, Unauthenticated, Unavailable
from tests.support.identity_reviews import Reviews, bearer

CART = Caller("shop", "cart")


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def story(play: Callable[[Reviews, Authenticator, Clock], Awaitable[None]]) -> None:
    async def run() -> None:
        reviews, clock = Reviews(), Clock()
        async with asyncio.timeout(20), reviews.client() as client:
            await play(reviews, Authenticator(client, clock), clock)

    asyncio.run(run())


def test_a_valid_token_is_asked_about_once_in_its_time() -> None:
    async def play(reviews: Reviews, who: Authenticator, clock: Clock) -> None:
        assert await who.caller(bearer("good")) == CART
        clock.now += KEEP_SECONDS - 1
        assert await who.caller(bearer("good")) == CART
        assert reviews.asked == ["good"]
        clock.now += 1
        del reviews.known["good"]
        with pytest.raises(Unauthenticated):
            await who.caller(bearer("good"))

    story(play)


def test_a_refused_token_is_remembered_for_a_moment() -> None:
    async def play(reviews: Reviews, who: Authenticator, clock: Clock) -> None:
        reviews.known["human"] = "jane"
        for _ in range(2):
            with pytest.raises(Unauthenticated):
                await who.caller(bearer("bad"))
            with pytest.raises(Denied, match="'jane'"):
                await who.caller(bearer("human"))
        assert reviews.asked == ["bad", "human"]
        clock.now += KEEP_REFUSED_SECONDS
        reviews.known["bad"] = reviews.known["good"]
        assert await who.caller(bearer("bad")) == CART

    story(play)


def test_calls_with_one_token_share_a_review_and_none_takes_the_answer_along() -> None:
    async def play(reviews: Reviews, who: Authenticator, clock: Clock) -> None:
        reviews.gate.clear()
        calls = [asyncio.create_task(who.caller(bearer("good"))) for _ in range(3)]
        await reviews.arrived.wait()
        calls[0].cancel()
        reviews.gate.set()
        assert await asyncio.gather(*calls[1:]) == [CART, CART]
        assert reviews.asked == ["good"]

    story(play)


def test_an_api_server_that_cannot_say_is_no_refusal_and_is_asked_again() -> None:
    async def play(reviews: Reviews, who: Authenticator, clock: Clock) -> None:
        reviews.status = 500
        with pytest.raises(Unavailable, match="out of order"):
            await who.caller(bearer("good"))
        reviews.status = 201
        assert await who.caller(bearer("good")) == CART

    story(play)


def test_a_flood_is_turned_away(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(authenticator, "_MAX_WAITING", 2)

    async def play(reviews: Reviews, who: Authenticator, clock: Clock) -> None:
        reviews.gate.clear()
        calls = [asyncio.create_task(who.caller(bearer(f"t{n}"))) for n in range(2)]
        await reviews.arrived.wait()
        with pytest.raises(Exhausted):
            await who.caller(bearer("good"))
        reviews.gate.set()
        assert [type(found) for found in await asyncio.gather(*calls, return_exceptions=True)] == [Unauthenticated] * 2
        assert await who.caller(bearer("good")) == CART

    story(play)


def test_what_it_remembers_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(authenticator, "_MAX_KEPT", 2)

    async def play(reviews: Reviews, who: Authenticator, clock: Clock) -> None:
        for token in ("good", "b", "c"):
            reviews.known[token] = reviews.known["good"]
            await who.caller(bearer(token))
        await who.caller(bearer("c"))
        await who.caller(bearer("good"))
        assert reviews.asked == ["good", "b", "c", "good"]

    story(play)


def test_what_is_too_long_for_a_token_is_not_carried_on() -> None:
    async def play(reviews: Reviews, who: Authenticator, clock: Clock) -> None:
        with pytest.raises(Unauthenticated, match="more than"):
            await who.caller(bearer("x" * 20_000))
        assert reviews.asked == []

    story(play)


def test_no_token_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    async def play(reviews: Reviews, who: Authenticator, clock: Clock) -> None:
        with pytest.raises(Unauthenticated) as caught:
            await who.caller(bearer("very-secret"))
        assert "very-secret" not in str(caught.value)

    with caplog.at_level(logging.DEBUG):
        story(play)
    assert "very-secret" not in caplog.text
