"""Databases: where ratings v2 keeps its stars: MySQL or MongoDB, each over a new connection per question."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol
from urllib.parse import urlsplit

from samples.bookinfo import mongo, mysql

_TIMEOUT_SECONDS = 5.0


class DatabaseFailed(Exception):
    """The database cannot be reached or said no."""


class Store(Protocol):
    """Something that knows the stars."""

    def ratings(self) -> list[int]:
        """The stars, in the reviewers' order. Raises: DatabaseFailed."""
        ...


@dataclass(frozen=True, slots=True)
class MySqlStore:
    """Table `ratings` of database `test`."""

    host: str
    port: int
    user: str
    password: str

    def ratings(self) -> list[int]:
        """See Store."""
        try:
            with mysql.connect(self.host, self.port, self.user, self.password, "test", _TIMEOUT_SECONDS) as connection:
                return [int(row[0] or 0) for row in connection.query("SELECT Rating FROM ratings")]
        except (OSError, mysql.MySqlError, ValueError, LookupError) as exc:
            raise DatabaseFailed(f"MySQL at {self.host}:{self.port}: {exc!r}") from exc


@dataclass(frozen=True, slots=True)
class MongoStore:
    """Collection `ratings` of the database that the URL names."""

    host: str
    port: int
    database: str

    def ratings(self) -> list[int]:
        """See Store."""
        try:
            with mongo.connect(self.host, self.port, _TIMEOUT_SECONDS) as connection:
                return [int(found["rating"]) for found in connection.find(self.database, "ratings")]
        except (OSError, mongo.MongoError, ValueError, LookupError, TypeError) as exc:
            raise DatabaseFailed(f"MongoDB at {self.host}:{self.port}: {exc!r}") from exc


def open_store(environment: Mapping[str, str]) -> Store:
    """By DB_TYPE=mysql and MYSQL_DB_{HOST,PORT,USER,PASSWORD}, else by MONGO_DB_URL. Nothing is connected yet."""
    if environment.get("DB_TYPE") == "mysql":
        return MySqlStore(
            environment.get("MYSQL_DB_HOST", "mysqldb"),
            int(environment.get("MYSQL_DB_PORT", "3306")),
            environment.get("MYSQL_DB_USER", "root"),
            environment.get("MYSQL_DB_PASSWORD", ""),
        )
    url = urlsplit(environment.get("MONGO_DB_URL", "mongodb://mongodb:27017/test"))
    return MongoStore(url.hostname or "mongodb", url.port or 27017, url.path.lstrip("/") or "test")
