import socket
from pathlib import Path

import pymysql
import pytest

from tests.servers import MariaDB, Redis, Server, ServerError, program


def rows(url: str, statement: str) -> tuple[tuple[object, ...], ...]:
    """Run one statement in the database of the url, and commit it."""
    server, _, name = url.rpartition("/")
    connection = pymysql.connect(
        host="127.0.0.1",
        port=int(server.rpartition(":")[2]),
        user="root",
        database=name,
        read_timeout=1,
        autocommit=True,
    )
    try:
        with connection.cursor() as cursor:
            cursor.execute(statement)
            return tuple(cursor.fetchall())
    finally:
        connection.close()


def ask_redis(server: Redis, command: str) -> str:
    with socket.create_connection(("127.0.0.1", server.port), timeout=1) as connection:
        connection.sendall(f"{command}\r\n".encode())
        return connection.recv(100).decode().strip()


@pytest.mark.mariadb
def test_every_database_is_new_and_holds_any_text(mariadb: MariaDB) -> None:
    first, second = mariadb.fresh_database(), mariadb.fresh_database()

    rows(first, "CREATE TABLE dishes (name VARCHAR(20)) ENGINE=InnoDB")
    rows(first, "INSERT INTO dishes VALUES ('牛肉面🍜')")

    assert rows(first, "SELECT name FROM dishes") == (("牛肉面🍜",),)
    assert rows(second, "SHOW TABLES") == ()
    for url in (first, second):
        mariadb.drop_database(url)
    with pytest.raises(pymysql.OperationalError, match="Unknown database"):
        rows(first, "SELECT 1")


@pytest.mark.mariadb
def test_a_killed_mariadb_comes_back_on_its_port_with_what_was_committed(
    own_mariadb: MariaDB,
) -> None:
    url = own_mariadb.fresh_database()
    rows(url, "CREATE TABLE t (n INT PRIMARY KEY)")
    rows(url, "INSERT INTO t VALUES (1), (2)")

    own_mariadb.kill()

    assert not own_mariadb.is_running
    with pytest.raises(pymysql.OperationalError):
        rows(url, "SELECT 1")

    own_mariadb.start()

    assert rows(url, "SELECT n FROM t ORDER BY n") == ((1,), (2,))
    assert rows(url, "SELECT @@innodb_flush_log_at_trx_commit") == ((1,),)


@pytest.mark.mariadb
def test_a_paused_mariadb_answers_nothing_until_it_resumes(own_mariadb: MariaDB) -> None:
    url = own_mariadb.fresh_database()

    own_mariadb.pause()

    with pytest.raises(pymysql.OperationalError):
        rows(url, "SELECT 1")

    own_mariadb.resume()

    assert rows(url, "SELECT 1") == ((1,),)


def test_redis_forgets_when_it_is_killed(own_redis: Redis) -> None:
    assert ask_redis(own_redis, "SET stall:7 60") == "+OK"

    own_redis.kill()
    own_redis.start()

    assert ask_redis(own_redis, "EXISTS stall:7") == ":0"


def test_redis_pauses_and_resumes(own_redis: Redis) -> None:
    own_redis.pause()

    with pytest.raises(TimeoutError):
        ask_redis(own_redis, "PING")

    own_redis.resume()

    assert ask_redis(own_redis, "PING") == "+PONG"


def test_the_shared_redis_is_empty_for_each_test(redis_server: Redis, redis_url: str) -> None:
    assert redis_url == redis_server.url
    assert ask_redis(redis_server, "DBSIZE") == ":0"


def test_starting_and_stopping_may_be_repeated(own_redis: Redis) -> None:
    pid = own_redis.pid

    own_redis.start()

    assert own_redis.pid == pid

    own_redis.stop()
    own_redis.stop()

    assert not own_redis.is_running


def test_a_paused_server_can_be_stopped(own_redis: Redis) -> None:
    own_redis.pause()

    own_redis.stop()

    assert not own_redis.is_running


def test_closing_leaves_no_process_and_no_folder() -> None:
    server = Redis()
    server.start()

    server.close()
    server.close()

    assert not server.is_running
    assert not server.folder.exists()


def test_a_taken_port_is_left_for_another_at_the_first_start() -> None:
    server = Redis()
    taken = server.port
    with socket.socket() as occupant:
        occupant.bind(("127.0.0.1", taken))
        occupant.listen()
        occupant.settimeout(0)

        server.start()

    assert server.port != taken
    assert ask_redis(server, "PING") == "+PONG"
    server.close()


def test_a_server_that_ends_at_once_says_why() -> None:
    class Failing(Redis):
        def _command(self) -> list[str]:
            return ["/bin/sh", "-c", "echo the disk is full >&2; exit 1"]

    server = Failing()

    with pytest.raises(ServerError, match="the disk is full"):
        server.start()

    server.close()


def test_one_that_was_never_started_has_no_process() -> None:
    server: Server = Redis()

    server.stop()

    assert not server.is_running
    with pytest.raises(ServerError, match="not been started"):
        _ = server.pid
    server.close()


def test_what_is_not_installed_is_named_with_its_package(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))

    with pytest.raises(ServerError, match="apt-get install no-such-package"):
        program("no-such-program", "no-such-package")
