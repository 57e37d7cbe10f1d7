import pytest

from mesh.model.route import HashKind, HashPolicy
from mesh.proxy.balance.hash_key import CompiledHash, HashKey, cookie_value
from mesh.proxy.balance.xxhash64 import xxh64
from mesh.proxy.match import CompileError
from tests.support.observe import head

MASK = (1 << 64) - 1


def key_of(*policies: HashPolicy, **headers: str) -> HashKey:
    return CompiledHash(policies, "f").of(head("GET", "/?u=7", "reviews", **headers), "10.0.0.9", lambda bits: 0xABC)


HEADER, IP = HashPolicy(HashKind.HEADER, "X-User"), HashPolicy(HashKind.SOURCE_IP)


def test_each_kind_hashes_its_value() -> None:
    assert key_of(HEADER, x_user="jason").value == xxh64(b"jason")
    assert key_of(IP).value == xxh64(b"10.0.0.9")
    assert key_of(HashPolicy(HashKind.QUERY, "u")).value == xxh64(b"7")
    assert key_of(HashPolicy(HashKind.COOKIE, "s"), cookie="a=1; s=x").value == xxh64(b"x")
    assert key_of(HashPolicy(HashKind.HEADER, ":authority")).value == xxh64(b"reviews")


def test_nothing_to_hash_is_none() -> None:
    assert key_of(HEADER) == HashKey(None)
    assert key_of(HashPolicy(HashKind.COOKIE, "s")) == HashKey(None)


def test_several_policies_are_combined_as_envoy_does() -> None:
    first, second = xxh64(b"jason"), xxh64(b"10.0.0.9")
    assert key_of(HEADER, IP, x_user="jason").value == ((first << 1 | first >> 63) & MASK) ^ second


def test_a_terminal_policy_ends_the_search_if_it_found_something() -> None:
    terminal = HashPolicy(HashKind.HEADER, "x-user", terminal=True)
    assert key_of(terminal, IP, x_user="jason").value == xxh64(b"jason")
    assert key_of(terminal, IP).value == xxh64(b"10.0.0.9")


def test_a_missing_cookie_is_made() -> None:
    made = key_of(HashPolicy(HashKind.COOKIE, "s", 60.0, "/p"))
    assert made.value == xxh64(b"0000000000000abc")
    assert made.set_cookie == b'set-cookie: s="0000000000000abc"; Max-Age=60; Path=/p; HttpOnly\r\n'


def test_a_session_cookie_has_no_age() -> None:
    assert key_of(HashPolicy(HashKind.COOKIE, "s", 0.0)).set_cookie == b'set-cookie: s="0000000000000abc"; HttpOnly\r\n'


def test_an_existing_cookie_is_left_alone() -> None:
    assert key_of(HashPolicy(HashKind.COOKIE, "s", 60.0), cookie='s="x"') == HashKey(xxh64(b"x"))


def test_cookies_are_found_among_others() -> None:
    assert [cookie_value(header, b"s") for header in (b"as=1; s=2", b"s", None, b"x=s=3")] == [b"2", None, None, None]


def test_a_policy_needs_a_name() -> None:
    with pytest.raises(CompileError, match="header hash policy needs a name"):
        CompiledHash((HashPolicy(HashKind.HEADER),), "f")
