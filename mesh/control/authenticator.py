"""Authenticator: asks the API server whose a token is, and remembers it for a short time.

Tokens are kept as hashes only and never logged. The bounds keep a flood of bad tokens from becoming a flood of
TokenReviews: so many at once, and so many waiting behind them.
"""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from mesh.control.caller import Caller, Denied, Exhausted, Unauthenticated, Unavailable, bearer_token, caller, review
from mesh.control.kube.client import KubeClient, KubeError

REVIEWS = "/apis/authentication.k8s.io/v1/tokenreviews"
KEEP_SECONDS = 30.0
"""How long a token that was valid is taken for valid: a deleted pod's is refused after this."""
KEEP_REFUSED_SECONDS = 2.0
_MAX_KEPT = 20_000
_MAX_AT_ONCE = 32
_MAX_WAITING = 2000
_MAX_TOKEN_CHARACTERS = 16 << 10

_Refusal = Unauthenticated | Denied


@dataclass(frozen=True, slots=True)
class _Known:
    answer: Caller | _Refusal
    until: float


class Authenticator:
    """Concurrency: one loop; calls with the same token share one review."""

    def __init__(self, client: KubeClient, clock: Callable[[], float] = time.monotonic) -> None:
        self._client = client
        self._clock = clock
        self._known: dict[bytes, _Known] = {}
        self._asking: dict[bytes, asyncio.Task[Caller | _Refusal]] = {}
        self._places = asyncio.Semaphore(_MAX_AT_ONCE)

    async def caller(self, metadata: Iterable[tuple[str, str | bytes]]) -> Caller:
        """Who makes a call with this metadata. Raises: Unauthenticated, Denied, Exhausted, Unavailable."""
        token = bearer_token(metadata)
        if len(token) > _MAX_TOKEN_CHARACTERS:
            raise Unauthenticated(f"the token has more than {_MAX_TOKEN_CHARACTERS} characters")
        digest = hashlib.sha256(token.encode()).digest()
        known = self._known.get(digest)
        if known is None or known.until <= self._clock():
            answer = await self._ask(digest, token)
        else:
            answer = known.answer
        if isinstance(answer, Caller):
            return answer
        raise type(answer)(str(answer))

    async def _ask(self, digest: bytes, token: str) -> Caller | _Refusal:
        task = self._asking.get(digest)
        if task is None:
            if len(self._asking) >= _MAX_WAITING:
                raise Exhausted("too many tokens are being checked; try again")
            task = self._asking[digest] = asyncio.create_task(self._review(digest, token))
            task.add_done_callback(lambda done: self._forget(digest, done))
        try:
            # One caller that goes away must not take the others' answer along.
            return await asyncio.shield(task)
        except KubeError as error:
            raise Unavailable(f"the API server does not review tokens now: {error}") from error

    def _forget(self, digest: bytes, done: asyncio.Task[Caller | _Refusal]) -> None:
        del self._asking[digest]
        if not done.cancelled():
            done.exception()  # everybody who asked may have gone away; then nobody else looks at it

    async def _review(self, digest: bytes, token: str) -> Caller | _Refusal:
        async with self._places:
            answer = await self._client.request("POST", REVIEWS, body=review(token))
        result: Caller | _Refusal
        try:
            result = caller(answer)
        except (Unauthenticated, Denied) as refusal:
            result = refusal
        self._remember(digest, result)
        return result

    def _remember(self, digest: bytes, answer: Caller | _Refusal) -> None:
        now = self._clock()
        if len(self._known) >= _MAX_KEPT:
            self._known = {key: known for key, known in self._known.items() if known.until > now}
            while len(self._known) >= _MAX_KEPT:
                # All are fresh: the oldest goes.
                del self._known[next(iter(self._known))]
        keep = KEEP_SECONDS if isinstance(answer, Caller) else KEEP_REFUSED_SECONDS
        self._known.pop(digest, None)
        self._known[digest] = _Known(answer, now + keep)
