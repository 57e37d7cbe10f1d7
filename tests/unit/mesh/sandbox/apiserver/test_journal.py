from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from mesh.sandbox.apiserver import journal
from mesh.sandbox.apiserver.journal import Journal, Row


def row(revision: int, name: str = "a", deleted: bool = False) -> Row:
    return Row(revision, "pods", "default", name, deleted, b"{%d}" % revision, 0, None)


def test_commit_is_there_after_reopening(tmp_path: Path) -> None:
    first = Journal(tmp_path / "db", 10)
    first.commit([row(1), row(2, "b"), row(3, "b", deleted=True)])
    first.close()
    second = Journal(tmp_path / "db", 10)
    assert list(second.objects()) == [("pods", "default", "a", 1, b"{1}")]
    assert [(r.revision, r.name, r.deleted) for r in second.history()] == [(1, "a", False), (2, "b", False), (3, "b", True)]
    assert second.revisions() == (3, 0)
    second.close()


def test_failed_batch_leaves_nothing(tmp_path: Path) -> None:
    made = Journal(tmp_path / "db", 10)
    made.commit([row(1)])
    with pytest.raises(sqlite3.IntegrityError):
        made.commit([row(2, "b"), row(1, "c")])
    assert [o[2] for o in made.objects()] == ["a"] and made.revisions() == (1, 0)
    made.commit([row(2, "b")])
    assert [o[2] for o in made.objects()] == ["a", "b"]
    made.close()


def test_history_is_trimmed_and_remembers_how_far(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(journal, "TRIM_EVERY", 4)
    made = Journal(tmp_path / "db", 3)
    made.commit([row(n) for n in range(1, 9)])
    assert [r.revision for r in made.history()] == [6, 7, 8] and made.revisions() == (8, 5)
    made.close()


def test_every_commit_is_synchronous(tmp_path: Path) -> None:
    made = Journal(tmp_path / "db", 3)
    assert made._db.execute("PRAGMA synchronous").fetchone() == (2,) and made._db.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    made.close()
