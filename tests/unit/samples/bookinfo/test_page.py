from samples.bookinfo import page

PRODUCT = {"title": "T<itle>", "descriptionHtml": "D & d"}
DETAILS = {"type": "paperback", "pages": 200}


def reviews(*ratings: object) -> dict[str, object]:
    return {"podname": "reviews-v2-x", "reviews": [{"reviewer": "R", "text": "<b>", **({"rating": r} if r else {})} for r in ratings]}


def test_stars_are_counted_and_coloured() -> None:
    text = page.product(PRODUCT, DETAILS, 200, reviews({"stars": 4, "color": "red"}, {"stars": 9, "color": "black"}), 200, "")
    assert "★★★★☆" in text
    assert "★★★★★" in text
    assert "color: #d22" in text
    assert "reviews-v2-x" in text


def test_reviews_without_stars_have_none_and_a_failed_rating_says_so() -> None:
    assert "★" not in page.product(PRODUCT, DETAILS, 200, reviews(None), 200, "")
    text = page.product(PRODUCT, DETAILS, 200, reviews({"error": "Ratings service is currently unavailable"}), 200, "")
    assert "Ratings service is currently unavailable" in text


def test_failed_backends_are_apologised_for() -> None:
    text = page.product(PRODUCT, {"error": "Sorry, d"}, 500, {"error": "Sorry, r"}, 503, "")
    assert "Error fetching product details!" in text
    assert "Error fetching product reviews!" in text
    assert "Sorry, r" in text


def test_everything_from_outside_is_escaped() -> None:
    text = page.product(PRODUCT, {"author": "<script>"}, 200, reviews({"stars": 1, "color": '"><script>'}), 200, "<script>")
    assert "<script>" not in text
    assert "&lt;b&gt;" in text
    assert "T&lt;itle&gt;" in text


def test_header_shows_who_is_signed_in() -> None:
    assert "jason" in page.product(PRODUCT, DETAILS, 200, reviews(), 200, "jason")
    assert "Sign in" in page.index({"details": "http://details:9080/details"})


def test_static_files() -> None:
    assert page.static("style.css").content_type.startswith("text/css")
    assert page.static("../secret").status == 404
