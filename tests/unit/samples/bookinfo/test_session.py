import pytest

from samples.bookinfo.session import Session


def cookie(set_cookie: str) -> dict[str, str]:
    name, _, value = set_cookie.split(";")[0].partition("=")
    return {name: value}


@pytest.mark.parametrize("user", ["jason", "a b", "x" * 64])
def test_user_reads_back_with_the_same_secret_only(user: str) -> None:
    stored = cookie(Session("k").store(user))
    assert Session("k").user(stored) == user
    assert Session("other").user(stored) == ""
    assert Session(None).user(cookie(Session(None).store(user))) == user


@pytest.mark.parametrize("value", ["", ".", "amFzb24", "amFzb24.", "amFzb24.AAAA", "é.é", "%%%.x"])
def test_forged_cookies_are_nobody(value: str) -> None:
    assert Session("k").user({"session": value}) == ""
    assert Session("k").user({}) == ""


def test_cookie_is_not_for_scripts_and_logout_ends_it() -> None:
    assert "HttpOnly" in Session("k").store("jason")
    assert "Max-Age=0" in Session("k").clear()
