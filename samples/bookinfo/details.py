"""Details: facts about a book. v1 knows them; v2 asks the Google Books API (ENABLE_EXTERNAL_BOOK_SERVICE=true)."""

import http.client
import json
import os
import ssl
from collections.abc import Mapping
from typing import Any

from samples.bookinfo import forward
from samples.bookinfo.web import Request, Response, serve

_BOOKS_HOST = "www.googleapis.com"
_ISBN = "0486424618"
_EXTERNAL_SECONDS = 5.0


class NoDetails(Exception):
    """The facts cannot be had; the message is for the caller."""


class Details:
    """The service. Args: environment: ENABLE_EXTERNAL_BOOK_SERVICE, DO_NOT_ENCRYPT (plain HTTP, for TLS origination)."""

    def __init__(self, environment: Mapping[str, str], books: tuple[str, int] | None = None) -> None:
        self._external = environment.get("ENABLE_EXTERNAL_BOOK_SERVICE") == "true"
        self._plain = environment.get("DO_NOT_ENCRYPT") == "true"
        self._books = books or (_BOOKS_HOST, 80 if self._plain else 443)

    def handle(self, request: Request) -> Response:
        """GET /details/<id> and /health. What goes wrong is 400 with JSON, as in the original."""
        if request.path == "/health":
            return Response(200, b'{"status": "Details is healthy"}')
        if not request.path.startswith("/details"):
            return _json(404, {"error": f"no such path: {request.path}"})
        text = request.path.rstrip("/").rsplit("/", 1)[-1]
        if not (text.isascii() and text.isdigit()):
            return _json(400, {"error": "please provide numeric product id"})
        try:
            return _json(200, self._details(int(text), forward.backend_headers(request.headers)))
        except NoDetails as exc:
            return _json(400, {"error": str(exc)})

    def _details(self, identity: int, headers: Mapping[str, str]) -> dict[str, Any]:
        if self._external:
            return {"id": identity, **self._ask(headers)}
        return {
            "id": identity,
            "author": "William Shakespeare",
            "year": 1595,
            "type": "paperback",
            "pages": 200,
            "publisher": "PublisherA",
            "language": "English",
            "ISBN-10": "1234567890",
            "ISBN-13": "123-1234567890",
        }

    def _ask(self, headers: Mapping[str, str]) -> dict[str, Any]:
        host, port = self._books
        connection = (
            http.client.HTTPConnection(host, port, timeout=_EXTERNAL_SECONDS)
            if self._plain
            else http.client.HTTPSConnection(host, port, timeout=_EXTERNAL_SECONDS, context=ssl.create_default_context())
        )
        try:
            connection.request("GET", f"/books/v1/volumes?q=isbn:{_ISBN}", headers=dict(headers))
            answer = connection.getresponse()
            if answer.status != 200:
                raise NoDetails(f"{host} answered {answer.status}")
            book = json.loads(answer.read())["items"][0]["volumeInfo"]
            numbers = {item["type"]: item["identifier"] for item in book["industryIdentifiers"]}
            return {
                "author": book["authors"][0],
                "year": book["publishedDate"],
                "type": "paperback" if book.get("printType") == "BOOK" else "unknown",
                "pages": book["pageCount"],
                "publisher": book["publisher"],
                "language": "English" if book["language"] == "en" else "unknown",
                "ISBN-10": numbers.get("ISBN_10"),
                "ISBN-13": numbers.get("ISBN_13"),
            }
        except (OSError, http.client.HTTPException) as exc:
            raise NoDetails(f"{host} cannot be reached: {exc}") from exc
        except (ValueError, LookupError, TypeError) as exc:
            raise NoDetails(f"{host} answered something else than a book: {exc!r}") from exc
        finally:
            connection.close()


def _json(status: int, value: object) -> Response:
    return Response(status, json.dumps(value).encode())


if __name__ == "__main__":
    serve("details", Details(os.environ).handle)
