"""Ratings: stars by reviewer, from memory (v1), MySQL or MongoDB (v2); and versions that misbehave on purpose.

v-faulty fails half of the requests with 503, v-delayed delays half by 7 s, v-unavailable is off every other minute,
v-unhealthy every other quarter of an hour (and its /health says so).
"""

import json
import os
import random
import sys
import threading
import time
from collections.abc import Callable, Mapping

from samples.bookinfo.databases import DatabaseFailed, Store, open_store
from samples.bookinfo.web import Request, Response, serve

_DELAY_SECONDS = 7.0
# How long the service is on, then off, then on …
_PERIOD_SECONDS = {"v-unavailable": 60.0, "v-unhealthy": 900.0}
# Node's HTTP server closes a connection that was idle for 5 s; a proxy's pool meets that race here.
_IDLE_SECONDS = 5.0


class Ratings:
    """The service.

    Args:
        environment: SERVICE_VERSION, and for v2 and its relatives what `open_store` reads.
        clock: monotonic seconds. chance: uniform in 0..1. wait: sleeps that many seconds.
    """

    def __init__(
        self,
        environment: Mapping[str, str],
        clock: Callable[[], float] = time.monotonic,
        chance: Callable[[], float] = random.random,
        wait: Callable[[float], None] = time.sleep,
    ) -> None:
        self._version = environment.get("SERVICE_VERSION", "v1")
        self._clock, self._chance, self._wait = clock, chance, wait
        self._started_at = clock()
        self._store: Store | None = open_store(environment) if self._version.startswith("v2") else None
        self._lock = threading.Lock()
        self._added: dict[int, dict[str, int]] = {}

    def handle(self, request: Request) -> Response:
        """GET and POST /ratings/<id>, GET /health."""
        if request.path == "/health":
            healthy = self._version != "v-unhealthy" or not self._is_off()
            return _json(200 if healthy else 500, {"status": f"Ratings is {'' if healthy else 'not '}healthy"})
        prefix, _, text = request.path.rpartition("/")
        if prefix != "/ratings":
            return _json(404, {"error": f"no such path: {request.path}"})
        if not (text.isascii() and text.isdigit()):
            return _json(400, {"error": "please provide numeric product ID"})
        if request.method == "POST":
            return self._post(int(text), request.body)
        return self._get(int(text))

    def _get(self, identity: int) -> Response:
        if self._is_off() or (self._version == "v-faulty" and self._chance() < 0.5):
            return _json(503, {"error": "Service unavailable"})
        if self._version == "v-delayed" and self._chance() < 0.5:
            self._wait(_DELAY_SECONDS)
        if self._store is not None:
            return self._get_stored(identity, self._store)
        with self._lock:
            found = self._added.get(identity, {"Reviewer1": 5, "Reviewer2": 4})
        return _json(200, {"id": identity, "ratings": found})

    def _get_stored(self, identity: int, store: Store) -> Response:
        try:
            stars = store.ratings()
        except DatabaseFailed as exc:
            print(f"ratings: {exc}", flush=True)
            return _json(500, {"error": "could not load ratings from database"})
        if len(stars) < 2:
            return _json(404, {"error": "ratings not found"})
        return _json(200, {"id": identity, "ratings": {"Reviewer1": stars[0], "Reviewer2": stars[1]}})

    def _post(self, identity: int, body: bytes) -> Response:
        if self._store is not None:
            return _json(501, {"error": "Post not implemented for database backed ratings"})
        try:
            given = json.loads(body)
        except ValueError:
            given = None
        if not isinstance(given, dict) or not all(type(stars) is int for stars in given.values()):
            return _json(400, {"error": "please provide valid ratings JSON"})
        with self._lock:
            self._added[identity] = given
        return _json(200, {"id": identity, "ratings": given})

    def _is_off(self) -> bool:
        period = _PERIOD_SECONDS.get(self._version)
        return period is not None and int((self._clock() - self._started_at) / period) % 2 == 1


def _json(status: int, value: object) -> Response:
    return Response(status, json.dumps(value).encode())


def main() -> None:
    """Serve on port 9080. The port is also the first argument in the original: `ratings 9080`."""
    if len(sys.argv) > 2:
        sys.exit("usage: python -m samples.bookinfo.ratings [port]")
    serve("ratings", Ratings(os.environ).handle, _IDLE_SECONDS)


if __name__ == "__main__":
    main()
