"""Page: the HTML of productpage and its static files. Plain HTML and CSS; every value from outside is escaped."""

from collections.abc import Mapping
from html import escape
from typing import Any

from samples.bookinfo.web import Response

_CSS = """
:root { color-scheme: light dark; --edge: #8884; --soft: #8881; }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 0 auto; padding: 0 1rem 3rem; }
header { display: flex; justify-content: space-between; align-items: center; padding: 1rem 0; border-bottom: 1px solid var(--edge); }
header a { color: inherit; text-decoration: none; font-weight: 600; }
h1 { font-size: 1.9rem; text-align: center; margin: 1.5rem 0 .5rem; }
main { display: grid; grid-template-columns: 1fr 1fr; gap: 1.5rem; }
main > p { grid-column: 1 / -1; text-align: center; }
section { border: 1px solid var(--edge); border-radius: .6rem; padding: 0 1.2rem 1rem; background: var(--soft); }
dl { display: grid; grid-template-columns: auto 1fr; gap: .2rem 1rem; margin: 0; }
dt { font-weight: 600; }
dd { margin: 0; }
blockquote { margin: 1rem 0 0; padding-left: 1rem; border-left: 3px solid var(--edge); }
.stars { letter-spacing: .15em; font-size: 1.3rem; }
.error { color: #b3261e; }
.served { color: #888; font-size: .8rem; }
@media (max-width: 40rem) { main { grid-template-columns: 1fr; } }
"""
_ICON = """<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 32 32"><path d="M4 5h10l2 2 2-2h10v21H18l-2 2-2-2H4z"
fill="none" stroke="#467" stroke-width="2"/><path d="M16 7v21" stroke="#467" stroke-width="2"/></svg>"""
_STATIC = {"style.css": (_CSS, "text/css; charset=utf-8"), "icon.svg": (_ICON, "image/svg+xml")}
# Only colours that are meant to be: what comes from a backend ends in a style attribute.
_COLORS = {"black": "currentColor", "red": "#d22"}


def static(name: str) -> Response:
    """A static file, or 404."""
    if name not in _STATIC:
        return Response(404, b"not found\n", "text/plain")
    text, content_type = _STATIC[name]
    return Response(200, text.encode(), content_type, (("cache-control", "max-age=300"),))


def index(urls: Mapping[str, str]) -> str:
    """The start page: what calls what."""
    rows = "".join(f"<li>{escape(name)}: <code>{escape(url)}</code></li>" for name, url in urls.items())
    return _frame(
        "Bookinfo",
        "",
        f"<h1>Bookinfo</h1><main><p>A page made by four services.</p><section><h2>Services</h2><ul>{rows}</ul></section>"
        '<section><h2>Pages</h2><ul><li><a href="/productpage?u=normal">Normal user</a></li>'
        '<li><a href="/productpage?u=test">Test user</a></li></ul></section></main>',
    )


def product(product: Mapping[str, Any], details: Any, status: int, reviews: Any, reviews_status: int, user: str) -> str:
    """The page of a book."""
    title = escape(str(product["title"]))
    body = f"<h1>{title}</h1><main><p>{escape(str(product['descriptionHtml']))}</p>"
    body += f"<section><h2>Book Details</h2>{_details(details, status)}</section>"
    body += f"<section><h2>Book Reviews</h2>{_reviews(reviews, reviews_status)}</section></main>"
    return _frame(title, user, body)


def _frame(title: str, user: str, body: str) -> str:
    if user:
        who = f'<span>{escape(user)} (<a href="/logout">sign out</a>)</span>'
    else:
        who = (
            '<form method="post" action="/login"><input name="username" placeholder="User name" required maxlength="64">'
            ' <input name="passwd" type="password" placeholder="Password"> <button>Sign in</button></form>'
        )
    return (
        f'<!DOCTYPE html><html lang="en"><head><meta charset="utf-8"><title>{title}</title>'
        '<meta name="viewport" content="width=device-width"><link rel="icon" href="/static/icon.svg">'
        f'<link rel="stylesheet" href="/static/style.css"></head><body><header><a href="/">BookInfo Sample</a>{who}</header>'
        f"{body}</body></html>"
    )


def _details(details: Any, status: int) -> str:
    if status != 200 or not isinstance(details, dict):
        return _error("Error fetching product details!", details)
    shown = ("type", "pages", "publisher", "language", "ISBN-10", "ISBN-13", "author", "year")
    rows = [f"<dt>{escape(name[0].upper() + name[1:])}</dt><dd>{escape(str(details[name]))}</dd>" for name in shown if name in details]
    return f"<dl>{''.join(rows)}</dl>"


def _reviews(reviews: Any, status: int) -> str:
    if status != 200 or not isinstance(reviews, dict) or not isinstance(reviews.get("reviews"), list):
        return _error("Error fetching product reviews!", reviews)
    items = [_review(item) for item in reviews["reviews"] if isinstance(item, dict)]
    served = escape(str(reviews.get("podname") or "unknown"))
    return f'{"".join(items)}<p class="served">Reviews served by: {served}</p>'


def _review(review: Mapping[str, Any]) -> str:
    text = f"<blockquote><p>{escape(str(review.get('text', '')))}</p><small>{escape(str(review.get('reviewer', '')))}</small>"
    rating = review.get("rating")
    if isinstance(rating, dict) and isinstance(rating.get("stars"), int):
        full = max(0, min(5, rating["stars"]))
        color = _COLORS.get(str(rating.get("color")), "currentColor")
        label = f"{full} of 5 stars, {escape(str(rating.get('color')))}"
        stars = "★" * full + "☆" * (5 - full)
        text += f'<p class="stars" style="color: {color}" role="img" aria-label="{label}">{stars}</p>'
    elif isinstance(rating, dict):
        text += f'<p class="error">{escape(str(rating.get("error", "Ratings service is currently unavailable")))}</p>'
    return text + "</blockquote>"


def _error(headline: str, value: Any) -> str:
    message = value.get("error", "") if isinstance(value, dict) else ""
    return f'<h3 class="error">{escape(headline)}</h3><p>{escape(str(message))}</p>'
