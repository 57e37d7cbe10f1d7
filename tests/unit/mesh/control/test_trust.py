"""Which CA signs, and what is written, as a list of events and the expected decisions."""

from __future__ import annotations

from typing import Any

from cryptography import x509

from mesh.control import ca_secret
from mesh.control.ca import MAX_LEAF_SECONDS, ROOT_SECONDS, fingerprint, make_root
from mesh.control.kube import kinds
from mesh.control.trust import RENEW_ROOT_SECONDS, Trust, Write
from tests.support.identity_ca import NOW, Maker, secret

SYSTEM = "triomesh-system"
DAY = 86_400.0


class Cluster:
    """Objects as the API server would keep them, told to a Trust as its watch would tell them."""

    def __init__(self, *namespaces: str, overlap: float = DAY) -> None:
        self.trust = Trust(SYSTEM, overlap)
        self.now = NOW
        self.version = 0
        for name in (SYSTEM, *namespaces):
            self.trust.put(kinds.NAMESPACE, {"metadata": {"name": name}})

    def settle(self, is_leader: bool = True) -> list[str]:
        """Refresh and write until nothing is left to write; what was written."""
        done: list[str] = []
        for _ in range(6):
            self.trust.refresh(self.now)
            writes = self.trust.writes(self.now, is_leader)
            if not writes:
                return done
            for write in writes:
                done.append(f"{write.method} {write.what}")
                self.take(write)
        raise AssertionError(f"never settles: {done}")

    def take(self, write: Write) -> None:
        self.version += 1
        kind = kinds.SECRET if write.body["kind"] == "Secret" else kinds.CONFIG_MAP
        self.trust.put(
            kind, {**write.body, "metadata": {**write.body["metadata"], "resourceVersion": str(self.version)}}
        )

    def plug(self, item: dict[str, Any]) -> None:
        self.trust.put(kinds.SECRET, item)

    def restart(self) -> None:
        """Another process with the same cluster."""
        fresh = Trust(SYSTEM, DAY)
        for kind, items in self.trust._items.items():
            fresh.replace(kind, items.values())
        self.trust = fresh

    @property
    def signer(self) -> x509.Certificate:
        assert self.trust.authority is not None
        return self.trust.authority.certificate


OPERATOR = Maker("operator")
SECOND = Maker("second", ends=NOW + 400 * DAY)


def test_a_new_mesh_makes_its_ca_and_publishes_its_root() -> None:
    cluster = Cluster("shop")
    assert cluster.settle() == [
        f"POST Secret {SYSTEM}/triomesh-ca-secret",
        f"POST Secret {SYSTEM}/triomesh-ca-roots",
        f"POST ConfigMap {SYSTEM}/triomesh-ca-root-cert",
        "POST ConfigMap shop/triomesh-ca-root-cert",
    ]
    assert cluster.trust.deadline == cluster.trust.authority.not_after - RENEW_ROOT_SECONDS  # type: ignore[union-attr]
    assert (cluster.trust.trouble, cluster.trust.note) == ("", "")


def test_who_does_not_lead_writes_the_ca_alone() -> None:
    assert Cluster("shop").settle(is_leader=False) == [f"POST Secret {SYSTEM}/triomesh-ca-secret"]


def test_who_comes_second_takes_the_winners_ca() -> None:
    cluster = Cluster()
    cluster.trust.refresh(NOW)
    assert [write.method for write in cluster.trust.writes(NOW, True)] == ["POST"]
    winner = make_root(NOW)
    cluster.plug({"metadata": {"namespace": SYSTEM, "name": "triomesh-ca-secret"}, "data": ca_secret.data(winner)})
    cluster.settle()
    assert cluster.signer == winner.certificate


def test_what_is_deleted_or_changed_comes_back_as_it_was() -> None:
    cluster = Cluster("shop")
    cluster.settle()
    signer = cluster.signer
    cluster.trust.remove(kinds.CONFIG_MAP, ("shop", "triomesh-ca-root-cert"))
    cluster.trust.remove(kinds.SECRET, (SYSTEM, "triomesh-ca-secret"))
    cluster.trust.put(
        kinds.CONFIG_MAP,
        {
            "metadata": {"namespace": SYSTEM, "name": "triomesh-ca-root-cert"},
            "data": {"root-cert.pem": "x", "own": "y"},
        },
    )
    assert cluster.settle() == [
        f"POST Secret {SYSTEM}/triomesh-ca-secret",
        f"PUT ConfigMap {SYSTEM}/triomesh-ca-root-cert",
        "POST ConfigMap shop/triomesh-ca-root-cert",
    ]
    assert cluster.signer == signer
    kept = cluster.trust._items[kinds.CONFIG_MAP][SYSTEM, "triomesh-ca-root-cert"]
    assert kept["data"] == {"root-cert.pem": cluster.trust.roots_pem, "own": "y"}


def test_a_namespace_that_ends_is_left_alone_and_a_new_one_is_served() -> None:
    cluster = Cluster()
    cluster.settle()
    cluster.trust.put(kinds.NAMESPACE, {"metadata": {"name": "going"}, "status": {"phase": "Terminating"}})
    cluster.trust.put(kinds.NAMESPACE, {"metadata": {"name": "gone", "deletionTimestamp": "2026-01-01T00:00:00Z"}})
    cluster.trust.put(kinds.NAMESPACE, {"metadata": {"name": "new"}, "status": {"phase": "Active"}})
    assert cluster.settle() == ["POST ConfigMap new/triomesh-ca-root-cert"]


def test_an_operators_ca_is_used_from_the_start_without_one_of_our_own() -> None:
    cluster = Cluster()
    cluster.plug(secret(OPERATOR))
    assert cluster.settle()[0] == f"POST Secret {SYSTEM}/triomesh-ca-roots"
    assert cluster.signer == OPERATOR.certificate


def test_a_bad_ca_at_the_start_is_told_and_not_replaced_by_our_own() -> None:
    cluster = Cluster()
    cluster.plug(secret(OPERATOR, ca_key=SECOND.key_pem))
    assert cluster.settle() == []
    assert cluster.trust.authority is None
    assert cluster.trust.trouble == f"Secret {SYSTEM}/cacerts data[ca-key.pem]: is not the key of ca-cert.pem"


def test_a_ca_that_becomes_bad_stops_nothing() -> None:
    cluster = Cluster()
    cluster.plug(secret(OPERATOR))
    cluster.settle()
    cluster.plug(secret(OPERATOR, ca_cert="none"))
    assert cluster.settle() == []
    assert cluster.signer == OPERATOR.certificate
    assert "data[ca-cert.pem]" in cluster.trust.trouble


def test_a_new_root_is_published_before_its_ca_signs_and_the_old_one_goes_last() -> None:
    cluster = Cluster("shop")
    cluster.settle()
    own = cluster.signer

    cluster.plug(secret(OPERATOR))
    assert len(cluster.settle()) == 3
    assert (cluster.signer, cluster.trust.deadline) == (own, NOW + DAY)
    assert "signs from" in cluster.trust.note
    assert list(cluster.trust.bundle) == [fingerprint(OPERATOR.certificate), fingerprint(own)]

    cluster.now += DAY - 1
    assert (cluster.settle(), cluster.signer) == ([], own)
    cluster.now += 1
    assert (cluster.settle(), cluster.signer) == ([], OPERATOR.certificate)
    assert cluster.trust.deadline == NOW + MAX_LEAF_SECONDS
    cluster.now = NOW + MAX_LEAF_SECONDS
    cluster.settle()
    assert list(cluster.trust.bundle) == [fingerprint(OPERATOR.certificate)]


def test_a_restart_in_the_middle_does_not_hurry_the_change() -> None:
    cluster = Cluster()
    cluster.settle()
    own = cluster.signer
    cluster.plug(secret(OPERATOR))
    cluster.settle()
    cluster.now += DAY / 2
    cluster.restart()
    assert (cluster.settle(), cluster.signer) == ([], own)
    cluster.now += DAY / 2
    assert (cluster.settle(), cluster.signer) == ([], OPERATOR.certificate)


def test_a_root_that_was_announced_long_before_is_used_at_once() -> None:
    cluster = Cluster()
    cluster.plug(secret(OPERATOR))
    cluster.settle()
    cluster.plug(secret(OPERATOR, roots=OPERATOR.pem + SECOND.pem))
    cluster.settle()
    cluster.now += DAY
    cluster.plug(secret(SECOND, roots=OPERATOR.pem + SECOND.pem))
    cluster.settle()
    assert cluster.signer == SECOND.certificate


def test_another_intermediate_of_the_same_root_signs_at_once() -> None:
    cluster = Cluster()
    first, second = Maker("first", OPERATOR), Maker("second", OPERATOR)
    cluster.plug(secret(first, roots=OPERATOR.pem))
    cluster.settle()
    cluster.plug(secret(second, roots=OPERATOR.pem))
    assert cluster.settle() == []
    assert cluster.signer == second.certificate


def test_without_an_overlap_the_old_root_is_gone_at_once() -> None:
    cluster = Cluster(overlap=0.0)
    cluster.plug(secret(OPERATOR))
    cluster.settle()
    cluster.plug(secret(SECOND))
    cluster.settle()
    assert cluster.signer == SECOND.certificate
    assert list(cluster.trust.bundle) == [fingerprint(SECOND.certificate)]


def test_when_the_operators_ca_is_withdrawn_ours_returns_and_his_key_is_not_copied() -> None:
    cluster = Cluster()
    cluster.plug(secret(OPERATOR))
    cluster.settle()
    cluster.trust.remove(kinds.SECRET, (SYSTEM, "cacerts"))
    cluster.settle()
    own = ca_secret.load(cluster.trust._items[kinds.SECRET][SYSTEM, "triomesh-ca-secret"], cluster.now)
    assert own.certificate != OPERATOR.certificate
    assert cluster.signer == OPERATOR.certificate
    cluster.now += DAY
    cluster.settle()
    assert cluster.signer == own.certificate


def test_our_own_root_is_renewed_in_time_and_both_are_trusted() -> None:
    cluster = Cluster()
    cluster.settle()
    old = cluster.signer
    cluster.now += ROOT_SECONDS - RENEW_ROOT_SECONDS
    assert cluster.settle(is_leader=False) == []
    assert f"PUT Secret {SYSTEM}/triomesh-ca-secret" in cluster.settle()
    cluster.now += DAY
    cluster.settle()
    assert cluster.signer != old
    assert cluster.signer.public_key() == old.public_key()
    assert set(cluster.trust.bundle) == {fingerprint(old), fingerprint(cluster.signer)}


def test_a_record_that_somebody_broke_is_written_anew() -> None:
    cluster = Cluster()
    cluster.settle()
    item = cluster.trust._items[kinds.SECRET][SYSTEM, "triomesh-ca-roots"]
    cluster.trust.put(kinds.SECRET, {**item, "data": {"record.json": "bm9uZQ=="}})
    assert cluster.settle() == [f"PUT Secret {SYSTEM}/triomesh-ca-roots"]
    cluster.trust.refresh(cluster.now)
    assert cluster.trust.trouble == ""


def test_other_secrets_are_not_kept() -> None:
    trust = Trust(SYSTEM)
    assert not trust.put(kinds.SECRET, {"metadata": {"namespace": SYSTEM, "name": "other"}})
    assert trust.replace(kinds.SECRET, [{"metadata": {"namespace": SYSTEM, "name": "other"}}]) == 0
