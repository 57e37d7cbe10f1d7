import pytest

from samples.bookinfo.databases import DatabaseFailed, MongoStore, MySqlStore, open_store
from samples.bookinfo.mongodb import MongoServer
from samples.bookinfo.mysqldb import MySqlServer
from tests.support.injector_bookinfo import running


def test_stars_come_out_of_both_databases() -> None:
    with running(MySqlServer("secret").session) as port:
        assert MySqlStore("127.0.0.1", port, "root", "secret").ratings() == [5, 4]
    with running(MongoServer().session) as port:
        assert MongoStore("127.0.0.1", port, "test").ratings() == [5, 4]


def test_refusal_and_absence_are_named() -> None:
    with running(MySqlServer("secret").session) as port:
        with pytest.raises(DatabaseFailed, match="Access denied for user 'root'"):
            MySqlStore("127.0.0.1", port, "root", "wrong").ratings()
    with pytest.raises(DatabaseFailed, match=rf"MongoDB at 127\.0\.0\.1:{port}"):
        MongoStore("127.0.0.1", port, "test").ratings()


@pytest.mark.parametrize(
    ("environment", "store"),
    [
        ({}, MongoStore("mongodb", 27017, "test")),
        ({"MONGO_DB_URL": "mongodb://m:1/db"}, MongoStore("m", 1, "db")),
        ({"DB_TYPE": "mysql", "MYSQL_DB_HOST": "h", "MYSQL_DB_PORT": "7", "MYSQL_DB_USER": "u", "MYSQL_DB_PASSWORD": "p"}, MySqlStore("h", 7, "u", "p")),
    ],
)
def test_store_by_environment(environment: dict[str, str], store: object) -> None:
    assert open_store(environment) == store
