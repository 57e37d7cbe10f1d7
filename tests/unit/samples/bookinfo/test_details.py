import json

import pytest

from samples.bookinfo.details import Details
from samples.bookinfo.web import Response
from tests.support.injector_bookinfo import Recorder, get, serving

BOOK = {
    "items": [
        {
            "volumeInfo": {
                "authors": ["W. S."], "publishedDate": "2002", "printType": "BOOK", "pageCount": 64, "publisher": "P", "language": "en",
                "industryIdentifiers": [{"type": "ISBN_10", "identifier": "1"}, {"type": "ISBN_13", "identifier": "2"}],
            }
        }
    ]
}  # fmt: skip


def test_v1_knows_the_book() -> None:
    answer = Details({}).handle(get("/details/0"))
    assert answer.status == 200
    assert json.loads(answer.body) == {
        "id": 0, "author": "William Shakespeare", "year": 1595, "type": "paperback", "pages": 200, "publisher": "PublisherA",
        "language": "English", "ISBN-10": "1234567890", "ISBN-13": "123-1234567890",
    }  # fmt: skip


@pytest.mark.parametrize(("path", "status"), [("/health", 200), ("/details/7", 200), ("/details/abc", 400), ("/details", 400), ("/other", 404)])
def test_paths(path: str, status: int) -> None:
    assert Details({}).handle(get(path)).status == status


def v2(port: int) -> Details:
    return Details({"ENABLE_EXTERNAL_BOOK_SERVICE": "true", "DO_NOT_ENCRYPT": "true"}, ("127.0.0.1", port))


def test_v2_asks_the_books_api_in_plain_http_with_the_trace_headers() -> None:
    recorder = Recorder(Response(200, json.dumps(BOOK).encode()))
    with serving(recorder) as port:
        answer = v2(port).handle(get("/details/3", {"x-request-id": "r"}))
    assert json.loads(answer.body) == {
        "id": 3, "author": "W. S.", "year": "2002", "type": "paperback", "pages": 64, "publisher": "P", "language": "English",
        "ISBN-10": "1", "ISBN-13": "2",
    }  # fmt: skip
    assert (recorder.requests[0].path, recorder.requests[0].headers["x-request-id"]) == ("/books/v1/volumes", "r")


@pytest.mark.parametrize(
    ("response", "message"),
    [
        (Response(503, b"x"), "answered 503"),
        (Response(200, b"{}"), "something else than a book"),
        (Response(200, b"no json"), "something else than a book"),
    ],
)
def test_v2_answers_400_with_json_when_the_api_fails(response: Response, message: str) -> None:
    with serving(Recorder(response)) as port:
        answer = v2(port).handle(get("/details/0"))
    assert answer.status == 400
    assert message in json.loads(answer.body)["error"]


def test_v2_answers_400_when_nobody_is_there() -> None:
    with serving(Recorder(Response(200))) as port:
        pass
    assert v2(port).handle(get("/details/0")).status == 400
