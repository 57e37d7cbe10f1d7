from datetime import timedelta
from pathlib import Path

import pytest

from mesh.proxy.identity import IdentityError, Workload, verify
from mesh.proxy.identity_file import load, save
from tests.support.proxy_tls import Authority

ROOT = Authority()
NAME = "spiffe://cluster.local/ns/shop/sa/reviews"
REVIEWS = Workload("shop", "reviews")


def test_what_was_saved_comes_back_readable_by_us_alone(tmp_path: Path) -> None:
    path = tmp_path / "identity.pem"
    assert load(path, ROOT.pem, REVIEWS) is None
    for _ in range(2):
        identity = verify(ROOT.issue(NAME), ROOT.pem, REVIEWS)
        save(path, identity)
        found = load(path, ROOT.pem, REVIEWS)
        assert found is not None and (found.principal, found.not_after) == (NAME, identity.not_after)
        assert found.certificate == identity.certificate
        assert path.stat().st_mode & 0o777 == 0o600 and [each.name for each in tmp_path.iterdir()] == [path.name]


def test_damaged_foreign_and_expired_files_are_not_used(tmp_path: Path) -> None:
    path = tmp_path / "identity.pem"
    save(path, verify(ROOT.issue(NAME), ROOT.pem, REVIEWS))
    whole = path.read_bytes()
    for damaged in (b"", whole[:-100], whole[200:], whole.replace(b"M", b"N")):
        path.write_bytes(damaged)
        with pytest.raises(IdentityError):
            load(path, ROOT.pem, REVIEWS)
    path.write_bytes(whole)
    with pytest.raises(IdentityError, match="not for"):
        load(path, ROOT.pem, Workload("shop", "ratings"))
    with pytest.raises(IdentityError, match="peers would refuse it"):
        load(path, Authority("new").pem, REVIEWS)
    expired = ROOT.issue(NAME, lifetime=timedelta(seconds=-5))
    path.write_bytes(expired.key_pem + expired.chain_pem)
    with pytest.raises(IdentityError, match="expired"):
        load(path, ROOT.pem, REVIEWS)
    path.unlink()
    path.mkdir()
    with pytest.raises(OSError):
        load(path, ROOT.pem, REVIEWS)
