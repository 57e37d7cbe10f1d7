"""A small closed-loop HTTP load: so many requests, so many at a time, and what came back."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from urllib.parse import urlencode

import urllib3

REQUEST_SECONDS = 20.0


@dataclass(frozen=True, slots=True)
class Answer:
    """One answer; status 0 means there was none, and `body` says why."""

    status: int
    body: str
    seconds: float


class Client:
    """Keep-alive HTTP to one base URL.

    Concurrency: safe from many threads; at most `connections` are open.
    """

    def __init__(self, base: str, connections: int = 8) -> None:
        self.base = base
        self.pool = urllib3.PoolManager(maxsize=connections, block=True, retries=False)
        self.connections = connections

    def send(self, method: str, path: str, headers: Mapping[str, str] | None = None, fields: Mapping[str, str] | None = None) -> Answer:
        """One request; redirects are not followed. Never raises for what the network does."""
        return self._send(method, path, headers, fields)[0]

    def login(self, user: str) -> Mapping[str, str]:
        """Log in to bookinfo's product page. Returns: the headers of a session ({} when it was refused)."""
        _, received = self._send("POST", "/login", None, {"username": user, "passwd": user})
        cookie = received.get("set-cookie", "")
        return {"Cookie": cookie.partition(";")[0]} if cookie else {}

    def many(self, path: str, count: int, headers: Mapping[str, str] | None = None, each: Callable[[Answer], None] | None = None) -> list[Answer]:
        """GET `path` `count` times with all connections busy; `each` sees every answer as it comes, in the calling thread."""
        answers = []
        with ThreadPoolExecutor(self.connections) as pool:
            for answer in pool.map(lambda _: self.send("GET", path, headers), range(count)):
                answers.append(answer)
                if each:
                    each(answer)
        return answers

    def _send(self, method: str, path: str, headers: Mapping[str, str] | None, fields: Mapping[str, str] | None) -> tuple[Answer, Mapping[str, str]]:
        started = time.monotonic()
        sent, body = dict(headers or {}), None
        if fields is not None:
            sent["Content-Type"], body = "application/x-www-form-urlencoded", urlencode(fields)
        try:
            answer = self.pool.request(method, self.base + path, headers=sent, body=body, timeout=REQUEST_SECONDS, redirect=False)
        except urllib3.exceptions.HTTPError as exc:
            return Answer(0, str(exc), time.monotonic() - started), {}
        return Answer(answer.status, answer.data.decode(errors="replace"), time.monotonic() - started), answer.headers
