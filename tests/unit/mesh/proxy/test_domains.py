import pytest

from mesh.proxy.domains import DomainTable
from mesh.proxy.match import CompileError


def table(*domains: str, ignore_port: bool = False) -> DomainTable[str]:
    return DomainTable([(domain, domain) for domain in domains], ignore_port, "route config r")


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        (b"foo.bar.com", "foo.bar.com"),
        (b"FOO.bar.COM", "foo.bar.com"),
        (b"x.bar.com", "*.bar.com"),
        (b"x-bar.com", "*-bar.com"),
        (b"x.y.com", "*.com"),
        (b".com", None),
        (b"foo.net", "foo.*"),
        (b"foo.bar.net", "foo.bar.*"),
        (b"other", None),
        (b"", None),
    ],
)
def test_hosts_are_found_in_envoys_order(host: bytes, expected: str | None) -> None:
    assert table("*.com", "*.bar.com", "*-bar.com", "foo.*", "foo.bar.*", "foo.bar.com").find(host) == expected


def test_the_catch_all_comes_last() -> None:
    found = table("*", "a.com")
    assert [found.find(host) for host in (b"a.com", b"b.com", b"a.com:80", b"")] == ["a.com", "*", "*", "*"]


def test_ports_are_part_of_the_name_unless_ignored() -> None:
    assert table("reviews:9080").find(b"reviews:9080") == "reviews:9080"
    assert table("reviews").find(b"reviews:9080") is None
    assert table("reviews", ignore_port=True).find(b"reviews:9080") == "reviews"
    assert table("[::1]", ignore_port=True).find(b"[::1]:9080") == "[::1]"


def test_the_same_owner_may_claim_a_domain_twice() -> None:
    owner = "v"
    assert DomainTable([("a", owner), ("A", owner)], False, "f").find(b"a") == "v"


@pytest.mark.parametrize("domains", [("a.com", "A.com"), ("*.a", "*.A"), ("a.*", "A.*")])
def test_two_owners_are_refused(domains: tuple[str, str]) -> None:
    with pytest.raises(CompileError, match=r"^route config r: the domain .* is in two virtual hosts"):
        table(*domains)


def test_many_invented_hosts_do_not_fill_the_memory() -> None:
    found = table("*")
    for number in range(5_000):
        assert found.find(b"h%d" % number) == "*"
    assert len(found._cache) <= 1024
