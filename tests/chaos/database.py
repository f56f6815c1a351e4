"""What stands in the database, read behind the servers' backs."""

import shutil
import sqlite3
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, Self

import pymysql


class Books:
    """A database of ours, open for a look or a forgery."""

    def __init__(self, connection: Any, mark: str) -> None:
        self._connection = connection
        self._mark = mark

    @classmethod
    @contextmanager
    def open(cls, url: str) -> Iterator[Self]:
        if url.startswith("sqlite:///"):
            with closing(sqlite3.connect(url.removeprefix("sqlite:///"))) as connection:
                yield cls(connection, "?")
                connection.commit()
            return
        server, _, name = url.rpartition("/")
        connection = pymysql.connect(
            host="127.0.0.1",
            port=int(server.rpartition(":")[2]),
            user="root",
            database=name,
            autocommit=True,
            connect_timeout=5,
        )
        try:
            yield cls(connection, "%s")
        finally:
            connection.close()

    @classmethod
    @contextmanager
    def after_a_crash(cls, file: Path) -> Iterator[Self]:
        """A copy of a SQLite file, so that the next server finds the crash as it was."""
        copy = file.with_name("copy.db")
        for suffix in ("", "-wal"):
            source = file.with_name(file.name + suffix)
            if source.exists():
                shutil.copyfile(source, copy.with_name(copy.name + suffix))
        with closing(sqlite3.connect(copy)) as connection:
            yield cls(connection, "?")
        for each in file.parent.glob("copy.db*"):
            each.unlink()

    def rows(self, statement: str, *values: object) -> list[tuple[Any, ...]]:
        with closing(self._connection.cursor()) as cursor:
            cursor.execute(statement.replace("?", self._mark), values)
            return [tuple(row) for row in cursor.fetchall()]

    def value(self, statement: str, *values: object) -> Any:
        return self.rows(statement, *values)[0][0]

    def empty(self) -> None:
        """Leave a MariaDB without a table."""
        for (name,) in self.rows("SHOW TABLES"):
            self.rows(f"DROP TABLE {name}")

    # ------------------------------------------------------------ months

    def a_month_ago(self, months: int = 1) -> None:
        """As if the last month charged lay so many months back, and the job were due."""
        for stall_id, month in self.rows("SELECT id, charged_month FROM stalls"):
            count = month // 100 * 12 + month % 100 - 1 - months
            earlier = count // 12 * 100 + count % 12 + 1
            self.rows("UPDATE stalls SET charged_month = ? WHERE id = ?", earlier, stall_id)
        self.rows("UPDATE jobs SET due_at = 0 WHERE name = 'months'")

    def open_stalls(self, count: int) -> None:
        """Make stalls, with their streams and nothing else."""
        values = "('stall', '', ?, '', '[]', '', 0, 0, 0, 'cyclic', 300, 1.5, 20, 120, 0)"
        columns = (
            "name, person, phone, claim_code, menu, image, balance_months, charged_month, disabled,"
            " pick, rest_s, double_tap_s, remind_after_s, release_after_min, created_at"
        )
        for number in range(count):
            self.rows(f"INSERT INTO stalls ({columns}) VALUES {values}", f"{number:011d}")
        self.rows(
            "INSERT INTO streams (name, epoch, seq) SELECT 'stall:' || id, 'first', 0 FROM stalls"
        )

    def give_back(self, *, months: int) -> None:
        """As if every stall had paid for so many months, and nothing was charged ever since."""
        self.rows("DELETE FROM stall_months")
        self.rows(
            "INSERT INTO stall_months (stall_id, months, balance_after, reason, by_account, at)"
            " SELECT id, ?, ?, 'paid', 0, 0 FROM stalls",
            months,
            months,
        )
        this_month = int(self.value("SELECT strftime('%Y%m', 'now', '+8 hours')"))
        self.rows("UPDATE stalls SET balance_months = ?, charged_month = ?", months, this_month)

    def balances(self) -> dict[int, int]:
        return dict(self.rows("SELECT id, balance_months FROM stalls ORDER BY id"))

    def charges(self) -> Counter[int]:
        """How many months each stall was charged."""
        return Counter(
            stall_id
            for (stall_id,) in self.rows(
                "SELECT stall_id FROM stall_months WHERE period IS NOT NULL"
            )
        )

    def unbalanced(self) -> list[int]:
        """Stalls whose balance is not the sum of their entries."""
        return [
            stall_id
            for (stall_id,) in self.rows(
                "SELECT s.id FROM stalls s LEFT JOIN stall_months m ON m.stall_id = s.id"
                " GROUP BY s.id, s.balance_months"
                " HAVING s.balance_months <> COALESCE(SUM(m.months), 0)"
            )
        ]

    # ------------------------------------------------------------ streams

    def torn_streams(self) -> list[tuple[Any, ...]]:
        """Streams with a gap, or whose head is not their last event."""
        return self.rows(
            "SELECT s.name, s.seq, COUNT(e.seq), MIN(e.seq), MAX(e.seq) FROM streams s"
            " LEFT JOIN events e ON e.stream_id = s.id GROUP BY s.name, s.seq"
            " HAVING s.seq <> COUNT(e.seq) OR MAX(e.seq) <> s.seq OR MIN(e.seq) <> 1"
        )

    def twice_live(self) -> list[tuple[Any, ...]]:
        return self.rows(
            "SELECT stall_id, number FROM tickets WHERE ended_at IS NULL"
            " GROUP BY stall_id, number HAVING COUNT(*) > 1"
        )

    def is_sound(self) -> bool:
        return bool(self.value("PRAGMA integrity_check") == "ok")
