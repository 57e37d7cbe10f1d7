"""Web: the webhook's HTTP face as a Starlette application: /inject, /validate, /healthz, /ready, /metrics."""

import logging
from collections.abc import Awaitable, Callable, Mapping

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from injector import advice, review
from injector.kube import ApiFailed
from injector.review import Answer, BadReview, Question
from injector.settings import Settings

_log = logging.getLogger("injector")
# Source: the API server accepts request bodies of 3 MiB; the review adds little to the object.
_MAX_BODY = 4 * 1024 * 1024
_COUNTERS = {
    "requests": "Reviews asked for.",
    "success": "Pods injected.",
    "skip": "Pods admitted without a sidecar.",
    "failure": "Reviews that ended in a denial or an error.",
}


class Web:
    """The application and its counters.

    Args:
        inputs: what a question needs to be answered: (namespace labels, settings); may raise ApiFailed.
        unready: why not ready, "" when ready.
        answered: told of every answer given.
    """

    def __init__(
        self,
        inputs: Callable[[Question], Awaitable[tuple[Mapping[str, str], Settings]]],
        unready: Callable[[], str],
        answered: Callable[[Question, Answer], None],
    ) -> None:
        self._inputs, self._unready, self._answered = inputs, unready, answered
        self._counts = dict.fromkeys(_COUNTERS, 0)
        routes = [
            Route("/inject", self._inject, methods=["POST"]),
            Route("/validate", self._validate, methods=["POST"]),
            Route("/healthz", self._healthz),
            Route("/ready", self._ready),
            Route("/metrics", self._metrics),
        ]
        self.app = Starlette(routes=routes)

    async def _inject(self, request: Request) -> Response:
        self._counts["requests"] += 1
        try:
            question = review.parse(await _body(request))
            labels, settings = await self._inputs(question)
        except BadReview as exc:
            return self._failed(400, str(exc))
        except ApiFailed as exc:
            return self._failed(503, f"not able to decide: {exc}")
        try:
            answer = review.answer(question, lambda _: labels, settings)
        except Exception as exc:  # the boundary of one review: a bug must not look like a network fault to the API server
            _log.exception("bug in the answer to %s", question.uid)
            return self._failed(500, f"internal error: {exc!r}")
        self._counts[{"injected": "success", "skipped": "skip"}.get(answer.outcome, "failure")] += 1
        _log.info("%s %s: %s", answer.outcome, review.name_of(question), answer.message)
        self._answered(question, answer)
        return JSONResponse(answer.body)

    async def _validate(self, request: Request) -> Response:
        try:
            done = advice.answer(await _body(request))
        except BadReview as exc:
            _log.warning("review of a mesh object answered 400: %s", exc)
            return PlainTextResponse(f"{exc}\n", 400)
        for warning in done["response"].get("warnings", ()):
            _log.info("warned: %s", warning)
        return JSONResponse(done)

    def _failed(self, code: int, message: str) -> Response:
        self._counts["failure"] += 1
        _log.warning("review answered %d: %s", code, message)
        return PlainTextResponse(message + "\n", code)

    async def _healthz(self, _: Request) -> Response:
        return PlainTextResponse("ok\n")

    async def _ready(self, _: Request) -> Response:
        reason = self._unready()
        return PlainTextResponse(f"not ready: {reason}\n" if reason else "ok\n", 503 if reason else 200)

    async def _metrics(self, _: Request) -> Response:
        lines = []
        for name, text in _COUNTERS.items():
            metric = f"sidecar_injection_{name}_total"
            lines += [f"# HELP {metric} {text}", f"# TYPE {metric} counter", f"{metric} {self._counts[name]}"]
        return PlainTextResponse("\n".join(lines) + "\n", media_type="text/plain; version=0.0.4")


async def _body(request: Request) -> bytes:
    """The body, bounded. Raises: BadReview: longer than any review can be."""
    parts = bytearray()
    async for chunk in request.stream():
        parts += chunk
        if len(parts) > _MAX_BODY:
            raise BadReview(f"the body is longer than {_MAX_BODY} bytes")
    return bytes(parts)
