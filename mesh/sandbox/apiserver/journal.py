"""The journal: objects and their recent history in one SQLite file.

WAL with synchronous=FULL: `commit` returns after the log is on the disk, so what was acknowledged survives SIGKILL and power loss.
Only one thread writes. Objects are rows (key → JSON bytes); each change is one more row of `history` until it is trimmed, so that
a watch can resume across a restart of the server.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

SCHEMA = """
CREATE TABLE IF NOT EXISTS objects(resource TEXT, namespace TEXT, name TEXT, revision INTEGER NOT NULL, data BLOB NOT NULL,
  PRIMARY KEY(resource, namespace, name)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS history(revision INTEGER PRIMARY KEY, resource TEXT NOT NULL, namespace TEXT NOT NULL, name TEXT NOT NULL,
  deleted INTEGER NOT NULL, data BLOB NOT NULL, old_revision INTEGER NOT NULL, old_data BLOB);
CREATE TABLE IF NOT EXISTS meta(key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
"""
TRIM_EVERY = 512


class Row(NamedTuple):
    """One change. `data` is the new object, or the last state of a deleted one; `old_data` is None for a creation."""

    revision: int
    resource: str
    namespace: str
    name: str
    deleted: bool
    data: bytes
    old_revision: int
    old_data: bytes | None


class Journal:
    """Concurrency: `commit` by one thread at a time; the rest at start only."""

    def __init__(self, path: Path, keep: int) -> None:
        # Secrets are in it, and the state directory itself must be open to the pods' own users. SQLite gives the WAL the same mode.
        os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
        path.chmod(0o600)
        self._db = sqlite3.connect(path, check_same_thread=False, isolation_level=None)
        self._db.execute("PRAGMA journal_mode=WAL")
        self._db.execute("PRAGMA synchronous=FULL")
        self._db.executescript(SCHEMA)
        self._keep = keep
        self._untrimmed = 0

    def objects(self) -> Iterator[tuple[str, str, str, int, bytes]]:
        """Every live object: resource, namespace, name, revision, JSON."""
        yield from self._db.execute("SELECT resource, namespace, name, revision, data FROM objects")

    def history(self) -> Iterator[Row]:
        """The changes still known, oldest first."""
        for row in self._db.execute("SELECT revision, resource, namespace, name, deleted, data, old_revision, old_data FROM history ORDER BY revision"):
            yield Row(row[0], row[1], row[2], row[3], bool(row[4]), row[5], row[6], row[7])

    def revisions(self) -> tuple[int, int]:
        """(last revision given out, revision up to which history was dropped)."""
        meta = dict(self._db.execute("SELECT key, value FROM meta"))
        last = self._db.execute("SELECT max(revision) FROM history").fetchone()[0]
        compacted = int(meta.get("compacted", "0"))
        return max(last or 0, compacted), compacted

    def commit(self, rows: Sequence[Row]) -> None:
        """Make `rows` durable, all or nothing. Raises: sqlite3.Error (disk full, I/O): nothing was written."""
        db = self._db
        db.execute("BEGIN IMMEDIATE")
        try:
            for row in rows:
                if row.deleted:
                    db.execute("DELETE FROM objects WHERE resource=? AND namespace=? AND name=?", row[1:4])
                else:
                    db.execute("INSERT OR REPLACE INTO objects VALUES(?,?,?,?,?)", (*row[1:4], row.revision, row.data))
            db.executemany("INSERT INTO history VALUES(?,?,?,?,?,?,?,?)", rows)
            self._untrimmed += len(rows)
            if self._untrimmed >= TRIM_EVERY:
                self._trim()
                self._untrimmed = 0
            db.execute("COMMIT")
        except BaseException:
            if db.in_transaction:
                db.execute("ROLLBACK")
            raise

    def _trim(self) -> None:
        found = self._db.execute("SELECT revision FROM history ORDER BY revision DESC LIMIT 1 OFFSET ?", (self._keep,)).fetchone()
        if found:
            self._db.execute("DELETE FROM history WHERE revision<=?", found)
            self._db.execute("INSERT OR REPLACE INTO meta VALUES('compacted', ?)", (str(found[0]),))

    def close(self) -> None:
        """Checkpoint and close."""
        self._db.close()
