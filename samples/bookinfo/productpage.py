"""Productpage: the web page of a book, put together from details and reviews; with a login that steers the mesh.

Who is logged in travels in the header end-user, which routes can match. Never lets a backend's failure become its own.
"""

import json
import os
import threading
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import urlsplit

from samples.bookinfo import forward, page
from samples.bookinfo.forward import Reply, Unreachable
from samples.bookinfo.session import Session
from samples.bookinfo.web import Request, Response, serve

_BACKEND_SECONDS = 3.0
_SORRY = {
    "details": "Sorry, product details are currently unavailable for this book.",
    "reviews": "Sorry, product reviews are currently unavailable for this book.",
    "ratings": "Sorry, product ratings are currently unavailable for this book.",
}
_PRODUCT = {
    "id": 0,
    "title": "The Comedy of Errors",
    "descriptionHtml": "Two pairs of twins, parted by a shipwreck, meet again in one town without knowing it."
    " The shortest of Shakespeare's plays, and the one with the most doors.",
}

Get = Callable[[str, Mapping[str, str], float], Reply]


class ProductPage:
    """The service.

    Args: environment: where the backends are (forward.base_url), FLOOD_FACTOR (further calls of reviews per page),
        SESSION_SECRET. get: how a backend is called.
    """

    def __init__(self, environment: Mapping[str, str], get: Get = forward.get) -> None:
        self._urls = {name: f"{forward.base_url(environment, name)}/{name}" for name in _SORRY}
        self._flood = int(environment.get("FLOOD_FACTOR") or 0)
        self._session = Session(environment.get("SESSION_SECRET"))
        self._get = get
        self._lock = threading.Lock()
        self._results: dict[tuple[str, int], int] = {}

    def handle(self, request: Request) -> Response:
        """Every path of the service."""
        match request.path:
            case "/" | "/index.html":
                return _html(page.index(self._urls))
            case "/health":
                return Response(200, b"Product page is healthy", "text/plain")
            case "/login" if request.method == "POST":
                return self._login(request)
            case "/login":
                return Response(405, b"method not allowed\n", "text/plain", (("allow", "POST"),))
            case "/logout":
                return _redirect(request, self._session.clear())
            case "/productpage":
                return self._page(request)
            case "/metrics":
                return Response(200, self._metrics(), "text/plain; version=0.0.4; charset=utf-8")
        if request.path.startswith("/static/"):
            return page.static(request.path.removeprefix("/static/"))
        return self._api(request)

    def _login(self, request: Request) -> Response:
        user = request.form().get("username", "")
        # The header end-user is made of it: nothing that could break out of a header.
        if not user or not user.isprintable() or not user.isascii() or len(user) > 64:
            return Response(400, b"username: 1 to 64 printable ASCII characters\n", "text/plain")
        return _redirect(request, self._session.store(user))

    def _page(self, request: Request) -> Response:
        user = self._session.user(request.cookies())
        headers = forward.page_headers(request.headers, user)
        status, details = self._details(headers)
        if self._flood:
            self._flood_reviews(headers)
        reviews_status, reviews = self._reviews(headers)
        return _html(page.product(_PRODUCT, details, status, reviews, reviews_status, user))

    def _api(self, request: Request) -> Response:
        match request.path.strip("/").split("/"):
            case ["api", "v1", "products"]:
                return _json(200, [_PRODUCT])
            case ["api", "v1", "products", identity, *rest] if identity.isascii() and identity.isdigit():
                headers = forward.page_headers(request.headers, self._session.user(request.cookies()))
                match rest:
                    case []:
                        return _json(*self._details(headers, identity))
                    case ["reviews"]:
                        return _json(*self._reviews(headers, identity))
                    case ["ratings"]:
                        return _json(*self._ask("ratings", headers, identity))
        return Response(404, b"not found\n", "text/plain")

    def _details(self, headers: Mapping[str, str], identity: str = "0") -> tuple[int, Any]:
        return self._ask("details", headers, identity)

    def _reviews(self, headers: Mapping[str, str], identity: str = "0") -> tuple[int, Any]:
        """Asked twice: with the timeout of 3 s this is the flaw that a delay of 7 s brings to light, on purpose."""
        status, value = self._ask("reviews", headers, identity)
        return (status, value) if status == 200 else self._ask("reviews", headers, identity)

    def _ask(self, service: str, headers: Mapping[str, str], identity: str) -> tuple[int, Any]:
        """(status, JSON) of a backend; what is not 200 becomes an apology with the backend's status, or 500."""
        try:
            reply = self._get(f"{self._urls[service]}/{identity}", headers, _BACKEND_SECONDS)
        except Unreachable as exc:
            print(f"productpage: {exc}", flush=True)
            self._count(service, 500)
            return 500, {"error": _SORRY[service]}
        self._count(service, reply.status)
        if reply.status == 200:
            try:
                return 200, json.loads(reply.body)
            except ValueError as exc:
                print(f"productpage: {service} answered something else than JSON: {exc}", flush=True)
                return 500, {"error": _SORRY[service]}
        return reply.status, {"error": _SORRY[service]}

    def _flood_reviews(self, headers: Mapping[str, str]) -> None:
        """FLOOD_FACTOR more calls, nobody waits for: to show what a circuit breaker does."""
        for _ in range(self._flood):
            threading.Thread(target=self._reviews, args=(headers,), daemon=True).start()

    def _count(self, service: str, status: int) -> None:
        with self._lock:
            self._results[service, status] = self._results.get((service, status), 0) + 1

    def _metrics(self) -> bytes:
        with self._lock:
            results = sorted(self._results.items())
        lines = ["# HELP request_result_total Results of requests", "# TYPE request_result_total counter"]
        for (service, status), count in results:
            lines.append(f'request_result_total{{destination_app="{service}",response_code="{status}"}} {count}')
        return ("\n".join(lines) + "\n").encode()


def _redirect(request: Request, cookie: str) -> Response:
    """Back to where the user came from, on this site only."""
    referrer = urlsplit(request.headers.get("referer", ""))
    target = referrer.path if referrer.path.startswith("/") and not referrer.path.startswith("//") else "/productpage"
    query = f"?{referrer.query}" if referrer.query else ""
    return Response(302, b"", headers=(("location", target + query), ("set-cookie", cookie)))


def _json(status: int, value: object) -> Response:
    return Response(status, json.dumps(value).encode())


def _html(text: str) -> Response:
    return Response(200, text.encode(), "text/html; charset=utf-8")


if __name__ == "__main__":
    serve("productpage", ProductPage(os.environ).handle)
