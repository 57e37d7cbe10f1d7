"""Reviews: two reviews of a book. v1 without stars, v2 with black and v3 with red ones, which it asks ratings for."""

import json
import os
from collections.abc import Mapping
from typing import Any

from samples.bookinfo import forward
from samples.bookinfo.forward import Unreachable
from samples.bookinfo.web import Request, Response, serve

_TEXTS = {
    "Reviewer1": "A comedy of errors with real wit in every scene. Read it aloud, with friends.",
    "Reviewer2": "Great fun, though three pairs of twins would have been funnier than two.",
}
_UNAVAILABLE = {"error": "Ratings service is currently unavailable"}
_VERSIONS = {"v2": ("true", "black"), "v3": ("true", "red")}


class Reviews:
    """The service.

    Args: environment: ENABLE_RATINGS and STAR_COLOR, or SERVICE_VERSION (v1, v2, v3) in their stead; HOSTNAME and
        CLUSTER_NAME are told to the caller; where ratings is, see forward.base_url.
    """

    def __init__(self, environment: Mapping[str, str]) -> None:
        enabled, color = _VERSIONS.get(environment.get("SERVICE_VERSION", ""), ("false", "black"))
        self._rated = environment.get("ENABLE_RATINGS", enabled) == "true"
        self._color = environment.get("STAR_COLOR", color)
        # Black waits longer than productpage's 3 s and red less: the walk-through on injected delays lives on that.
        self._timeout_seconds = 10.0 if self._color == "black" else 2.5
        self._ratings = forward.base_url(environment, "ratings") + "/ratings/"
        self._pod = environment.get("HOSTNAME", "")
        self._cluster = environment.get("CLUSTER_NAME", "")

    def handle(self, request: Request) -> Response:
        """GET /reviews/<id> and /health."""
        if request.path == "/health":
            return Response(200, b'{"status": "Reviews is healthy"}')
        prefix, _, identity = request.path.rpartition("/")
        if prefix != "/reviews" or not (identity.isascii() and identity.isdigit()):
            return Response(404, json.dumps({"error": f"no such path: {request.path}"}).encode())
        stars = self._stars(identity, request.headers) if self._rated else {}
        reviews = [{"reviewer": name, "text": text, **self._rating(name, stars)} for name, text in _TEXTS.items()]
        body = {"id": identity, "podname": self._pod, "clustername": self._cluster, "reviews": reviews}
        return Response(200, json.dumps(body).encode())

    def _rating(self, reviewer: str, stars: Mapping[str, Any] | None) -> dict[str, Any]:
        if not self._rated:
            return {}
        if stars is None or not isinstance(stars.get(reviewer), int):
            return {"rating": _UNAVAILABLE}
        return {"rating": {"stars": stars[reviewer], "color": self._color}}

    def _stars(self, identity: str, headers: Mapping[str, str]) -> Mapping[str, Any] | None:
        """Stars by reviewer; None when ratings has no good answer."""
        try:
            reply = forward.get(self._ratings + identity, forward.backend_headers(headers), self._timeout_seconds)
        except Unreachable as exc:
            print(f"reviews: {exc}", flush=True)
            return None
        if reply.status != 200:
            print(f"reviews: ratings answered {reply.status}", flush=True)
            return None
        try:
            found = json.loads(reply.body)["ratings"]
        except (ValueError, LookupError, TypeError) as exc:
            print(f"reviews: ratings answered something else than ratings: {exc!r}", flush=True)
            return None
        return found if isinstance(found, dict) else None


if __name__ == "__main__":
    serve("reviews", Reviews(os.environ).handle)
